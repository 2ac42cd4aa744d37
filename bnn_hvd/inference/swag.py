"""SWAG: a Normal fitted to the iterates of gradient descent with a constant step size (Maddox et al. 2019)."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import noise, seeds
from bnn_hvd.config import TrainConfig, flag
from bnn_hvd.config.options import MethodOptions
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.descent import descend
from bnn_hvd.inference.init_from import initial_theta
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.inference.method import Draws, Marginals, Method, Picked, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.network import Network

TINY = 1e-30
LOW_RANK = 1  # purpose of a seed: the part of a draw along the deviations


@dataclasses.dataclass(frozen=True)
class SwagOptions(MethodOptions):
    """Flags of swag."""

    takes = MethodOptions.takes - {"noise_seed", "until_converged"} | {"init_from"}

    swag_rank: int = flag(20, "--method=swag", "kept deviations: the rank of the covariance's low-rank part", minimum=2)
    swag_start_steps: int | None = flag(
        None, "--method=swag", "step of the first collected iterate (default: half of the training)", minimum=1
    )
    swag_every_steps: int | None = flag(
        None, "--method=swag", "steps from one collected iterate to the next (default: an epoch)", minimum=1
    )


class MultiSwagOptions(SwagOptions):
    """Facts of multiswag, whose members are trained by swag."""

    takes = SwagOptions.takes - {"init_from", "gradient_blocks"}
    needs_particles = True


class Swag(Method):
    """Minimises the loss of `MaximumAPosteriori`, and collects iterates theta: from step `start`, every `every` steps.

    A draw is from N(mean, covariance), with

        covariance = 1/2 diag(variance) + 1/2 D^T D / (K' - 1)

    where `mean` and `variance` are over all n collected iterates (divided by n), and D [K', P] are the deviations of
    the last K' = min(n, K), each from the mean when it was collected. Before the first, a draw is the current theta.
    """

    optimizer: Optimizer

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster, self.config = network, likelihood, cluster, config
        self.rank = config.method.options_as(SwagOptions).swag_rank
        self.objective = MaximumAPosteriori(network, likelihood, num_train, config.network.prior_scale)
        self.optimizer = optimizers.make(config.schedule, network.num_noise_scales)
        self.start, self.every = collection(config, num_train, cluster.size)

    def init(self, seed: np.ndarray) -> State:
        state = State(initial_theta(self.config, self.network, seed), self.optimizer)
        *members, size = state.params.shape
        state.slots |= {
            "swag_count": tf.Variable(tf.zeros(members), name="swag_count"),
            "swag_mean": tf.Variable(tf.zeros([*members, size]), name="swag_mean"),
            "swag_variance": tf.Variable(tf.zeros([*members, size]), name="swag_variance"),
            "swag_deviations": tf.Variable(tf.zeros([*members, self.rank, size]), name="swag_deviations"),
        }
        return state

    def check_length(self, total_steps: int) -> None:
        """Raise UserError if fewer than two iterates would be collected: one has no variance."""
        collected = max(0, (total_steps - self.start) // self.every + 1)
        if collected < 2:
            raise UserError(
                f"swag would collect {collected} iterates of {total_steps} steps (from step {self.start}, every "
                f"{self.every}), and a variance needs two: train longer, or lower --swag_start_steps or "
                "--swag_every_steps"
            )

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        scalars = descend(state, batch, controls, self.objective.scalars, self.optimizer, self.cluster)
        beyond = state.step - self.start  # descend has counted the step
        due = tf.logical_and(beyond >= 0, tf.equal(beyond % self.every, 0))
        tf.cond(due, lambda: self._collect(state), lambda: tf.constant(True))
        return scalars

    def num_reduced(self) -> int:
        return self.network.num_parameters

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        """Return S draws: mean + sqrt(variance / 2) z1 + D^T z2 / sqrt(2 (K' - 1))."""
        mean, scale, deviations = self._normal(state)
        z1_SP = noise.normals(draws.seeds, self.network.num_parameters)
        z2_SK = noise.normals(seeds.derive(draws.seeds, purpose=LOW_RANK), self.rank)
        low_rank = tf.matmul(z2_SK, deviations) if len(deviations.shape) == 2 else combine(z2_SK, deviations)
        return self.network.unflatten(mean + scale * z1_SP + low_rank)

    def marginals(self, state: State) -> Marginals:
        mean, scale, deviations = self._normal(state)
        if not np.all(state.slots["swag_count"].numpy()):
            return Marginals(mean.numpy())
        return Marginals(mean.numpy(), tf.sqrt(scale**2 + tf.reduce_sum(deviations**2, -2)).numpy())

    def signs_of_convergence(self, state: State) -> dict[str, float]:
        """Return the drift of the collected weights, on average over members: 1 if they are independent; {} before two.

        It is |last - mean of those before|^2 / variance, without the biases of independent ones. Of a random walk it is
        2, of weights that move along a line 3.
        """
        count = int(np.max(state.slots["swag_count"].numpy()))
        if count < 2:
            return {}
        last = state.slots["swag_deviations"].numpy()[..., (count - 1) % self.rank, :]  # from the mean with itself
        variance = state.slots["swag_variance"].numpy()
        ratio = np.sum(last.astype(np.float64) ** 2, -1) / np.sum(variance.astype(np.float64), -1)
        return {"moments_drift": float(np.mean(ratio))}

    def _collect(self, state: State) -> tf.Tensor:
        """Update the moments (Welford): mean of squares - square of the mean would lose most digits in float32."""
        n = tf.reshape(state.slots["swag_count"], [-1])[0]  # the same for all members
        row = tf.cast(n, tf.int32) % self.rank
        mean, variance = state.slots["swag_mean"], state.slots["swag_variance"]
        before = state.params - mean
        mean.assign_add(before / (n + 1.0))
        deviation = state.params - mean
        variance.assign_add((before * deviation - variance) / (n + 1.0))
        state.slots["swag_deviations"][..., row, :].assign(deviation)
        state.slots["swag_count"].assign_add(tf.ones_like(state.slots["swag_count"]))
        return tf.constant(True)

    def _normal(self, state: State | Picked) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return mean and scale [..., P] and scaled deviations [..., K, P]; the covariance is the sum of both parts."""
        count = state.slots["swag_count"][..., None]
        mean = tf.where(count > 0, state.slots["swag_mean"], state.params)
        scale = tf.where(count > 0, tf.sqrt(tf.maximum(state.slots["swag_variance"] / 2.0, TINY)), 0.0)
        independent = tf.maximum(tf.minimum(count, float(self.rank)) - 1.0, 1.0)
        return mean, scale, state.slots["swag_deviations"] / tf.sqrt(2.0 * independent)[..., None]


def combine(weights_SK: tf.Tensor, rows_SKP: tf.Tensor) -> tf.Tensor:
    """Return weights_SK times each draw's own rows, summed over K: [S, P]."""
    return tf.matmul(weights_SK[:, None, :], rows_SKP)[:, 0, :]


def collection(config: TrainConfig, num_train: int, ranks: int) -> tuple[int, int]:
    """Return the step of the first collected iterate, and the steps from one to the next.

    By default, iterates are collected in the second half of the training, once per epoch.
    """
    options = config.method.options_as(SwagOptions)
    epoch = max(num_train // (config.data.examples_per_rank * ranks), 1)
    half = (config.run.steps or (config.run.epochs or 0) * epoch) // 2
    start = half if options.swag_start_steps is None else options.swag_start_steps
    return max(start, 1), options.swag_every_steps or epoch
