"""Stein variational gradient descent: interacting particles that approximate the posterior (Liu & Wang 2016)."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.config import TrainConfig
from bnn_hvd.config.options import MethodOptions
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.descent import averaged, gradient_of
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.inference.method import Draws, Marginals, Method, Picked, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.network import Network

TINY = 1e-30


@dataclasses.dataclass(frozen=True)
class SvgdOptions(MethodOptions):
    """Facts of svgd; it has no flags of its own."""

    takes = MethodOptions.takes - {"noise_seed", "gradient_blocks", "accumulate_steps", "member_batches"}
    needs_particles = True
    interacting = True
    prunable = True


class Svgd(Method):
    """M particles theta [M, P] on this rank, moved along `svgd_direction` of all ranks' particles.

    The score of a particle is the gradient of log p(data, theta), tempered by kl_weight: -num_labels times the gradient
    of the loss of `MaximumAPosteriori`. The optimizer's gradient is -direction / num_labels, so that one particle makes
    the same steps as point with the same learning rate.

    The state always has the axis of particles. `cluster.mean` averages over the ranks with the same particles, and
    `cluster.concat` gathers the particles of the other ranks.
    """

    optimizer: Optimizer

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster = network, likelihood, cluster
        self.num_labels = num_train * likelihood.labels_per_example
        self.num_particles = config.method.num_particles
        self.objective = MaximumAPosteriori(network, likelihood, num_train, config.network.prior_scale)
        self.optimizer = optimizers.make(config.schedule, network.num_noise_scales)

    def init(self, seed: np.ndarray) -> State:
        assert seed.ndim == 2, "particles have the axis M"
        return State(self.network.initial(seed), self.optimizer)

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        theta = tf.convert_to_tensor(state.params)
        gradient, scalars = gradient_of(lambda theta: self.objective.scalars(theta, batch, controls), theta)
        (gradient,), scalars = averaged(self.cluster, [gradient], scalars)
        direction = self._direction(theta, -self.num_labels * gradient)
        self.optimizer.apply(state.params, state.slots, -direction / self.num_labels, controls, state.step)
        state.step.assign_add(1)
        return scalars

    def num_reduced(self) -> int:
        return self.network.num_parameters

    def num_draws(self, requested: int) -> int:
        return 1  # of each particle

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        """Return the S picked particles."""
        return self.network.unflatten(tf.convert_to_tensor(state.params))

    def marginals(self, state: State) -> Marginals:
        """Return the mean of the particles; with two or more, also their standard deviation."""
        theta = state.params.numpy()
        if len(theta) == 1:
            return Marginals(theta[0])
        return Marginals(theta.mean(0), np.maximum(theta.std(0, ddof=1), TINY))

    def _direction(self, theta: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        shape, first = [self.num_particles, theta.shape[1]], self.cluster.first_row
        theta_all, scores_all = (
            tf.ensure_shape(every, shape) for every in self.cluster.concat([theta, scores], "particles")
        )
        return svgd_direction(theta_all, scores_all, slice(first, first + theta.shape[0]))


def svgd_direction(theta_all: tf.Tensor, scores_all: tf.Tensor, mine: slice) -> tf.Tensor:
    """Return the direction phi [M, P] of the particles theta_all[mine] (Liu & Wang 2016, eq. 8).

        phi_i = 1/A sum_j [ k(x_j, x_i) score_j + grad_{x_j} k(x_j, x_i) ]
        k(x, y) = exp(-|x - y|^2 / h),     h = median_{i < j} |x_i - x_j|^2 / log(A + 1)

    The gradient of the kernel is 2/h (x_i - x_j) k, which repels i from j.

    theta_all, scores_all: [A, P], of all A particles.
    """
    centred = theta_all - tf.reduce_mean(theta_all, 0)  # the distances stay the same, and lose fewer digits
    squares_A = tf.reduce_sum(centred**2, -1)
    products_AA = tf.matmul(centred, centred, transpose_b=True)
    distances_AA = tf.maximum(squares_A[:, None] + squares_A - 2.0 * products_AA, 0.0)
    h = bandwidth(distances_AA)
    kernel_MA = tf.exp(-distances_AA[mine] / h)
    repulsion = tf.reduce_sum(kernel_MA, -1)[:, None] * centred[mine] - tf.matmul(kernel_MA, centred)
    return (tf.matmul(kernel_MA, scores_all) + 2.0 / h * repulsion) / float(theta_all.shape[0])


def bandwidth(distances_AA: tf.Tensor) -> tf.Tensor:
    """Return h [] from squared distances [A, A]; 1 for one particle, or if more than half of the pairs coincide."""
    count = distances_AA.shape[0]
    if count == 1:
        return tf.constant(1.0)
    pairs = tf.sqrt(tf.sort(tf.gather_nd(distances_AA, np.argwhere(np.triu(np.ones([count, count]), 1)))))
    num_pairs = count * (count - 1) // 2
    median = 0.5 * (pairs[(num_pairs - 1) // 2] + pairs[num_pairs // 2])
    return tf.where(median > 0, median**2 / np.log(count + 1), 1.0)
