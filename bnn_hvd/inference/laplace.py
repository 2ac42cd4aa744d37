"""Last-layer Laplace approximation of a finished point run (MacKay 1992; Daxberger et al. 2021)."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.config import TrainConfig, fill, flag
from bnn_hvd.config.options import GRADIENT, MINI_BATCHES, MethodOptions, Values
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.descent import over_batch
from bnn_hvd.inference.init_from import POSTERIOR, initial_theta
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.log_prior import log_prior
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.inference.mean_field import log_density
from bnn_hvd.inference.method import Draws, Method, Picked, Scalars, State
from bnn_hvd.models.layers import Inputs
from bnn_hvd.models.network import Network

MOST_WEIGHTS = 5000  # of the last layer: their full matrix is 100 MB, also in each checkpoint
MOST_INPUTS = 2048  # of the last layer: with kron, each prediction factorises a matrix of that size per class


@dataclasses.dataclass(frozen=True)
class LaplaceOptions(MethodOptions):
    """Flags of laplace."""

    takes = MINI_BATCHES | GRADIENT | {"kl_weight", "init_from"}
    fitted = True

    laplace_structure: str = flag(
        "full", "--method=laplace", "curvature of the last layer: the full matrix, or a Kronecker product",
        choices=("full", "kron"),
    )  # fmt: skip

    @classmethod
    def fill(cls, values: Values) -> None:
        if not values["init_from"]:
            raise UserError("--method=laplace needs --init_from, the run directory of a point run")
        if values["steps"] is None:
            fill(values, epochs=1)  # each example is seen once


class Laplace(Method):
    """q = N(W, precision^-1) over the last layer W [D + 1, C], kernel and bias; theta is that of --init_from.

        precision = sum_n h_n h_n^T (x) H_n + kl_weight I / prior_scale^2       (full)
                    N mean_n(h_n h_n^T) (x) mean_n(H_n) + kl_weight I / ...     (kron)

    h [D + 1] is the input of the layer with a 1 for the bias, H [C, C] the Hessian of -log p(y | outputs) by the
    layer's outputs. This is the generalized Gauss-Newton matrix, which for one layer and softmax equals the Hessian.
    kl_weight tempers the prior, as it did in the point run; learnt noise stays at its value there. A step trains
    nothing: it adds its batch to the averages. One epoch takes each example once; those that do not fill a batch are
    assumed to have the mean of the others.
    """

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster = network, likelihood, cluster
        self.num_labels = num_train * likelihood.labels_per_example
        self.config, self.prior_scale = config, config.network.prior_scale
        self.prior_precision = config.schedule.kl_weight / self.prior_scale**2
        self.full = config.method.options_as(LaplaceOptions).laplace_structure == "full"
        self.objective = MaximumAPosteriori(network, likelihood, num_train, self.prior_scale)
        if not network.ends_in_dense:
            raise UserError(
                f"--architecture={config.network.architecture} does not end in a Dense layer with a bias and without "
                "an activation, and laplace is of that layer: take another --method"
            )
        self.kernel, self.bias = (f"{network.layers[-1]}/{kind}" for kind in ("kernel", "bias"))
        inputs, self.outputs = next(p.shape for p in network.parameters if p.name == self.kernel)
        self.inputs = inputs + 1
        if self.inputs > MOST_INPUTS:
            raise UserError(
                f"the last layer of --architecture={config.network.architecture} has {self.inputs - 1} inputs, and "
                f"laplace takes at most {MOST_INPUTS - 1}: take a network with a smaller layer before its output, as "
                "lenet5 or vgg3"
            )
        if self.full and self.inputs * self.outputs > MOST_WEIGHTS:
            raise UserError(
                f"--laplace_structure=full would need a matrix of {self.inputs * self.outputs} x as many numbers, "
                f"more than {MOST_WEIGHTS}: take --laplace_structure=kron"
            )

    def init(self, seed: np.ndarray) -> State:
        state = State(initial_theta(self.config, self.network, seed, POSTERIOR))
        flat = self.inputs * self.outputs
        sizes = {"full": flat} if self.full else {"inputs": self.inputs, "outputs": self.outputs}
        state.slots |= {k: tf.Variable(tf.zeros([n, n]), name=f"laplace_{k}") for k, n in sizes.items()}
        return state

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        theta = tf.convert_to_tensor(state.params)

        def part(batch: Batch, controls: Controls) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
            return self._factors(theta, batch), self.objective.scalars(theta, batch, controls)

        factors, scalars = over_batch(self.cluster, batch, controls, part)
        state.step.assign_add(1)
        for slot, factor in zip(state.slots.values(), factors, strict=True):
            slot.assign_add((factor - slot) / tf.cast(state.step, tf.float32))
        return scalars

    def num_reduced(self) -> int:
        return (self.inputs * self.outputs) ** 2 if self.full else self.inputs**2 + self.outputs**2

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        """Return S draws of the last layer; the other weights have no axis S."""
        weights: dict[str, Any] = self.network.unflatten(tf.convert_to_tensor(state.params))
        change, _ = self._changes(state, draws)
        weights[self.kernel] = weights[self.kernel] + change[:, :-1]
        weights[self.bias] = weights[self.bias] + change[:, -1]
        return weights

    def num_random(self) -> int:
        return self.inputs * self.outputs

    def log_ratios(self, state: State, draws: Draws, log_likelihood_S: tf.Tensor) -> tf.Tensor:
        weights = self.network.unflatten(tf.convert_to_tensor(state.params))
        change, log_density_S = self._changes(state, draws)
        layer = tf.concat([weights[self.kernel], weights[self.bias][None]], 0) + change
        flat = tf.cast(tf.reshape(layer, [-1, self.inputs * self.outputs]), tf.float64)
        return log_likelihood_S + log_prior(flat, self.prior_precision**-0.5) - log_density_S

    def _changes(self, state: State | Picked, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
        """Return S draws of the last layer, less their mean, [S, D + 1, C], and their log density, float64 [S]."""
        size = self.inputs * self.outputs
        eps = noise.normals(draws.seeds, size)
        of = self._full_draws if self.full else self._kron_draws
        change, log_diagonal = of(state, tf.reshape(eps, [-1, self.inputs, self.outputs]))
        return change, log_density(eps, -log_diagonal)

    def _factors(self, theta: tf.Tensor, batch: Batch) -> list[tf.Tensor]:
        """Return the batch means of the precision's factors: [(D+1) C, (D+1) C], or [D + 1, D + 1] and [C, C]."""
        weights: dict[str, Any] = self.network.unflatten(theta)
        outputs = self.network.apply(weights, batch.x)
        # Learnt noise is an output beside those of the layer.
        h_ND = self.network.apply(weights | {self.kernel: Inputs()}, batch.x)[:, : self.inputs - 1]
        h_ND = tf.concat([h_ND, tf.ones_like(h_ND[:, :1])], -1)
        hessian_NCC = output_hessian(self.likelihood, outputs, batch.y)[:, : self.outputs, : self.outputs]
        count = float(batch.x.shape[0])
        if not self.full:
            return [tf.matmul(h_ND, h_ND, transpose_a=True) / count, tf.reduce_mean(hessian_NCC, 0)]
        curved = tf.einsum("ne,nbc->nebc", h_ND, hessian_NCC)
        size = self.inputs * self.outputs
        return [tf.reshape(tf.einsum("nd,nebc->dbec", h_ND, curved), [size, size]) / count]

    def _full_draws(self, state: State | Picked, eps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return S draws, less their mean, for eps [S, D + 1, C]: L^-T eps, L the Cholesky factor of the precision.

        And the logarithms of the diagonal of L [(D + 1) C].
        """
        precision = self.num_labels * state.slots["full"] + self.prior_precision * tf.eye(eps.shape[1] * eps.shape[2])
        flat = tf.reshape(eps, [eps.shape[0], -1])
        factor = tf.linalg.cholesky(precision)
        solved = tf.linalg.triangular_solve(factor, tf.transpose(flat), adjoint=True)
        return tf.reshape(tf.transpose(solved), eps.shape), tf.math.log(tf.linalg.diag_part(factor))

    def _kron_draws(self, state: State | Picked, eps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `_full_draws`: in the eigenbasis of the output factor, the precision has one block per eigenvalue."""
        values_C, vectors_CC = tf.linalg.eigh(state.slots["outputs"])
        blocks = self.num_labels * tf.maximum(values_C, 0.0)[:, None, None] * state.slots["inputs"]
        factors = tf.linalg.cholesky(blocks + self.prior_precision * tf.eye(self.inputs))
        solved_CDS = tf.linalg.triangular_solve(factors, tf.transpose(eps, [2, 1, 0]), adjoint=True)
        change = tf.einsum("kds,ck->sdc", solved_CDS, vectors_CC)
        return change, tf.reshape(tf.math.log(tf.linalg.diag_part(factors)), [-1])


def output_hessian(likelihood: Likelihood, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
    """Return the Hessian of -log p(y_n | outputs_n) by the outputs: [N, C] -> [N, C, C].

    Where it can have negative eigenvalues, return the product of the gradient with itself in its place, whose mean over
    y ~ p(y | outputs) is that of the Hessian (the Fisher information; Martens 2020, section 5).
    """
    if not likelihood.log_concave:
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            nll = likelihood.nll(outputs, y_N)
        gradient_NC = tape.gradient(nll, outputs)
        return gradient_NC[:, :, None] * gradient_NC[:, None, :]
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(outputs)
        with tf.GradientTape() as inner:
            inner.watch(outputs)
            nll = likelihood.nll(outputs, y_N)
        columns = tf.unstack(inner.gradient(nll, outputs), axis=-1)
    return tf.stack([outer.gradient(column, outputs) for column in columns], axis=1)
