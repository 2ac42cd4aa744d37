"""Variational online Newton: a Normal per weight at the cost of one gradient (Shen et al. 2024, algorithm 1)."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.config import TrainConfig, flag
from bnn_hvd.config.options import OPTIMIZER, MethodOptions, Values
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.descent import average_in, gradient_of, over_batch, popped_statistics, statistics_of
from bnn_hvd.inference.init_from import initial_theta
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.log_prior import log_prior
from bnn_hvd.inference.mean_field import LEAST_KL_WEIGHT, effective_size, log_density, mean_of_kernels
from bnn_hvd.inference.method import Draws, Marginals, Method, Picked, Scalars, State
from bnn_hvd.models.network import Network

LEAST_RATE = 1e-4  # of the curvature, whose memory grows with training


@dataclasses.dataclass(frozen=True)
class IvonOptions(MethodOptions):
    """Flags of ivon."""

    takes = MethodOptions.takes - OPTIMIZER | {"init_from"}
    takes_batch_norm = True
    # The learning rate is that large because the gradient is divided by the curvature.
    defaults: ClassVar[Values] = {"learning_rate": 0.01, "lr_schedule": "tail"}

    ivon_hess_init: float = flag(0.5, "--method=ivon", "initial curvature per example", minimum=1e-12)
    ivon_beta1: float = flag(0.9, "--method=ivon", "decay rate of the momentum, in [0, 1)", minimum=0, below=1)
    ivon_beta2: float = flag(
        0.0, "--method=ivon", "decay rate of the curvature, in [0, 1), as in the paper (0.9999 there); 0: a memory "
        "that grows with training, so that the initial curvature is forgotten", minimum=0, below=1,
    )  # fmt: skip


class Ivon(Method):
    """loss = mean_n -log p(y_n | x_n, theta), theta drawn from q = N(mean, sigma^2) for all weights.

    A step minimises E_q[loss] + kl_weight * KL(q || p) / num_labels by a natural gradient. With

        ess = num_labels / kl_weight,   delta = 1 / (ess * prior_scale^2),   sigma^2 = 1 / (ess * (hess + delta))

    delta is the contribution of the prior, the gradient is that of the data alone, and `hess` estimates the curvature
    per example. ess is the effective sample size: kl_weight < 1 tempers the posterior as if there were more examples. A
    kl_weight below LEAST_KL_WEIGHT counts as LEAST_KL_WEIGHT. A draw uses the final kl_weight, also during its warm-up.

    The update rule is part of the method: --optimizer and --momentum are not used.
    """

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster = network, likelihood, cluster
        self.num_labels = num_train * likelihood.labels_per_example
        self.config = config
        options = config.method.options_as(IvonOptions)
        self.prior_scale, self.kl_weight = config.network.prior_scale, config.schedule.kl_weight
        self.kernels = network.kernels(network.parameters)
        self.hess_init, self.beta1, self.beta2 = options.ivon_hess_init, options.ivon_beta1, options.ivon_beta2

    def init(self, seed: np.ndarray) -> State:
        state = State(initial_theta(self.config, self.network, seed), network=self.network)
        state.slots |= {
            "momentum": tf.Variable(tf.zeros_like(state.params), name="ivon_momentum"),
            "hess": tf.Variable(tf.fill(state.params.shape, self.hess_init), name="ivon_hess"),
        }
        return state

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        """Each rank has its own noise, so the gradient and its product with the noise are both averaged."""
        mean, hess = tf.convert_to_tensor(state.params), tf.convert_to_tensor(state.slots["hess"])
        ess, delta = self._ess_and_delta(controls.kl_weight)

        def part(batch: Batch, controls: Controls) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
            def loss_of(theta: tf.Tensor) -> dict[str, tf.Tensor]:
                weights = self.network.unflatten(theta) | self.network.dropout(controls.seed)
                outputs, seen = self.network.apply_in_training(weights, batch.x)
                nll = tf.reduce_mean(self.likelihood.nll(outputs, batch.y), -1)
                return {"loss": nll, "nll": nll, **self.likelihood.score(outputs, batch.y), **seen}

            eps = noise.normals(controls.seed, self.network.num_parameters)
            gradient, scalars = gradient_of(loss_of, _draw_theta(mean, hess, eps, ess, delta))
            return [gradient, gradient * eps, *popped_statistics(scalars)], scalars

        (gradient, curvature, *seen), scalars = over_batch(self.cluster, batch, controls, part)
        for statistics in seen:
            average_in(state, statistics)
        return scalars | self._update(state, gradient, curvature, controls)

    def num_reduced(self) -> int:
        # The gradient, its product with the noise, and the statistics of batch norms.
        return 2 * self.network.num_parameters + self.network.initial_statistics.size

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        mean, hess = tf.convert_to_tensor(state.params), tf.convert_to_tensor(state.slots["hess"])
        eps_SP = noise.normals(draws.seeds, self.network.num_parameters)
        return self.network.unflatten(mean + eps_SP * self._sigma(hess)) | statistics_of(state)

    def num_random(self) -> int:
        return self.network.num_parameters

    def log_ratios(self, state: State, draws: Draws, log_likelihood_S: tf.Tensor) -> tf.Tensor:
        sigma = self._sigma(tf.convert_to_tensor(state.slots["hess"]))
        eps_SP = noise.normals(draws.seeds, self.network.num_parameters)
        prior_S = log_prior(tf.cast(state.params + eps_SP * sigma, tf.float64), self.prior_scale)
        tempered_S = log_likelihood_S / max(self.kl_weight, LEAST_KL_WEIGHT)
        return tempered_S + prior_S - log_density(eps_SP, tf.math.log(sigma))

    def marginals(self, state: State) -> Marginals:
        return Marginals(state.params.numpy(), self._sigma(tf.convert_to_tensor(state.slots["hess"])).numpy())

    def _ess_and_delta(self, kl_weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the effective sample size, and the prior's precision divided by it."""
        ess = effective_size(self.num_labels, kl_weight)
        return ess, 1.0 / (ess * self.prior_scale**2)

    def _sigma(self, hess: tf.Tensor) -> tf.Tensor:
        ess, delta = self._ess_and_delta(tf.constant(self.kl_weight))
        return tf.math.rsqrt(ess * (hess + delta))

    def _update(self, state: State, gradient: tf.Tensor, curvature: tf.Tensor, controls: Controls) -> Scalars:
        """The step size is scaled by (hess_init + delta), as in the paper: initially it is that of plain SGD.

        Returns the pulls of `MeanFieldStep`, averaged over the members.
        """
        momentum, hess = state.slots["momentum"], state.slots["hess"]
        ess, delta = self._ess_and_delta(controls.kl_weight)
        debias = 1.0 / (1.0 - self.beta1 ** tf.cast(state.step + 1, tf.float32))
        size = controls.learning_rate * (self.hess_init + delta)
        rate, lowest = self._rate_and_lowest(delta, controls)
        now = [tf.convert_to_tensor(variable) for variable in (state.params, momentum, hess)]
        *new, scale_pull, mean_pull = _updated(
            *now, gradient, curvature, tf.stack([ess, delta, size, debias, rate, lowest]), self.beta1
        )
        for variable, value in zip((state.params, momentum, hess), new, strict=True):
            variable.assign(value)
        state.step.assign_add(1)
        pulls = {"scale_pull": scale_pull, "mean_pull": mean_pull}
        pulls |= mean_of_kernels("scale_pull", _scale_pulls(now[-1], curvature, ess, delta), self.kernels)
        return {name: tf.reduce_mean(pull) for name, pull in pulls.items()}

    def _rate_and_lowest(self, delta: tf.Tensor, controls: Controls) -> tuple[float | tf.Tensor, float | tf.Tensor]:
        """Return the rate of `hess`, and the lowest precision (hess + delta) to which it may fall.

        Without ivon_beta2 the memory of `hess` grows with training, and the precision falls from (hess_init + delta) to
        the prior's at most as fast as the bound on the standard deviations of vi grows (`MeanFieldStep`).
        """
        if self.beta2:
            return 1.0 - self.beta2, 0.0
        start = self.hess_init + delta
        lowest = start * (delta / start) ** controls.scale_ceiling
        lowest = tf.where(controls.scale_ceiling < 1.0, lowest, 0.0)
        return tf.maximum(LEAST_RATE, controls.scale_rate), lowest


@noise.compiled
def _draw_theta(mean: tf.Tensor, hess: tf.Tensor, eps: tf.Tensor, ess: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    return mean + eps * tf.math.rsqrt(ess * (hess + delta))


@noise.compiled
def _scale_pulls(hess: tf.Tensor, curvature: tf.Tensor, ess: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Return the pull of each log standard deviation: the relative error of the precision."""
    return (_estimate(hess, curvature, ess, delta) - hess) / (hess + delta)


def _estimate(hess: tf.Tensor, curvature: tf.Tensor, ess: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Return the curvature that a step sees, from gradient * eps: by Stein's identity E[gradient * eps / sigma]."""
    return curvature * tf.sqrt(ess * (hess + delta))


@noise.compiled
def _updated(
    mean: tf.Tensor,
    momentum: tf.Tensor,
    hess: tf.Tensor,
    gradient: tf.Tensor,
    curvature: tf.Tensor,
    numbers: tf.Tensor,
    beta1: float,
) -> tuple[tf.Tensor, ...]:
    """Return mean, momentum and hess [..., P] after one step; then scale_pull and mean_pull [...].

    curvature: gradient * eps.
    numbers: ess, delta, the step size of the mean, the debiasing factor of the momentum, the rate of hess, and the
    lowest precision (hess + delta) to which it may fall.

    The quadratic term in the change of hess keeps hess + delta positive (Lin, Schmidt & Khan 2020): the new value is
    (hess + delta) * (1 + u + u^2 / 2) > 0, where u = change / (hess + delta).
    """
    ess, delta, size, debias, rate, lowest = tf.unstack(numbers)
    precision = hess + delta
    estimate = _estimate(hess, curvature, ess, delta)
    change = rate * (estimate - hess)
    new_precision = precision + change + 0.5 * change * change / precision
    new_hess = tf.maximum(new_precision, tf.minimum(precision, lowest)) - delta
    scale_pull = tf.reduce_mean((estimate - hess) / precision, -1)
    mean_pull = ess * tf.reduce_mean(mean * (gradient + delta * mean), -1)
    momentum = beta1 * momentum + (1.0 - beta1) * gradient
    mean = mean - size * (debias * momentum + delta * mean) / (new_hess + delta)
    return mean, momentum, new_hess, scale_pull, mean_pull
