"""Likelihoods p(y | outputs of a network), in nats. The equations are in docs/maths.md.

Legend: N examples, O outputs, C classes, I items, D columns of a target, K components of a mixture, L labels of all
examples. Outputs are [..., N, O], with any axes (members, draws) before N; where an example has several labels,
[..., N, *label_shape, O].
"""

import math
from typing import Protocol

import numpy as np
import tensorflow as tf

from bnn_hvd.config.data import DataConfig
from bnn_hvd.noise import Gradient
from bnn_hvd.targets import RealValues, RealVectors, Target

MAX_LOG_SCALE = 15.0


class Likelihood(Protocol):
    """p(y | outputs).

    score_name: of the score that training logs.
    log_concave: whether -log p(y | outputs) is convex in the outputs, so that its Hessian has no negative eigenvalue.
    labels_per_example: independent given the outputs; where it is not 1, N in the methods below are the labels of all
      examples.
    """

    score_name: str = "accuracy"
    log_concave: bool = True
    labels_per_example: int = 1

    def nll(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        """Return -log p(y_n | outputs_n): [..., N, O] -> [..., N]."""

    def total_nll(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        """Return the sum of `nll` over the examples, in float64: [..., N, O] -> [...].

        The accept ratio of hmc is a difference of two such sums: at 4e5 nats, float32 cannot resolve 0.03.
        """
        return tf.reduce_sum(tf.cast(self.nll(outputs, y_N), tf.float64), -1)

    def score_parts(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        """Return what is averaged over examples for the score: [..., N, O] -> [..., N]."""

    def score_of_mean(self, mean: tf.Tensor) -> tf.Tensor:
        """Return the score of some examples from the mean of their parts."""
        return mean

    def score(self, outputs: tf.Tensor, y_N: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the score of a batch, by name: [..., N, O] -> [...]."""
        return {self.score_name: self.score_of_mean(tf.reduce_mean(self.score_parts(outputs, y_N), -1))}

    def predictive(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the parameters of p(y | outputs): [..., N, O] -> class or item probabilities of that shape, or
        [..., N, 2], mean and standard deviation; or of a target with D columns [..., N, K (1 + D + D^2)]: of each
        component the log weight, the mean and the factor A of the precision A^T A (metrics/normal_mixtures.py)."""


class Categorical(Likelihood):
    """Class probabilities softmax(outputs); y [N] are class numbers."""

    def nll(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(_for_each(outputs, y_N), outputs)

    def total_nll(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        """Return the sum of `nll`, in a third of the time: vectorised along the examples, not along the few classes."""
        chosen = tf.one_hot(y_N, outputs.shape[-1], axis=0, dtype=outputs.dtype)  # [C, N]

        @tf.custom_gradient
        def total(logits: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
            below = logits - tf.reduce_max(logits, -2, keepdims=True)
            powers = tf.exp(below)
            norm = tf.reduce_sum(powers, -2, keepdims=True)
            nll = tf.math.log(norm[..., 0, :]) - tf.reduce_sum(below * chosen, -2)

            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                return tf.cast(upstream, logits.dtype)[..., None, None] * (powers / norm - chosen)

            return tf.reduce_sum(tf.cast(nll, tf.float64), -1), gradient

        return total(tf.linalg.matrix_transpose(outputs))

    def score_parts(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        right = tf.math.in_top_k(
            tf.reshape(_for_each(outputs, y_N), [-1]), tf.reshape(outputs, [-1, outputs.shape[-1]]), 1
        )
        return tf.reshape(tf.cast(right, tf.float32), tf.shape(outputs)[:-1])

    def predictive(self, outputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(outputs)


class Bernoulli(Likelihood):
    """Implicit ratings: a user has rated an item with probability sigma(outputs).

    y [N, I] is 1 (rated), -1 (not rated) or 0 (unknown).
    """

    def nll(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return the sum over the known items, [..., N, I] -> [..., N]."""
        return tf.reduce_sum(log_loss(outputs, y), -1)

    def total_nll(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return the sum over users and items, in float64: [..., N, I] -> [...]."""

        @tf.custom_gradient
        def total(z: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                return tf.cast(upstream, z.dtype)[..., None, None] * _slope(z, tf.cast(y, z.dtype))

            return tf.reduce_sum(tf.cast(log_loss(z, y), tf.float64), [-2, -1]), gradient

        return total(outputs)

    def score_parts(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        y = tf.cast(y, outputs.dtype)
        right, known = (tf.reduce_sum(tf.cast(part, tf.float32), -1) for part in (outputs * y > 0, tf.abs(y)))
        return right / tf.maximum(known, 1.0)

    def predictive(self, outputs: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(outputs)


@tf.custom_gradient
def log_loss(z: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return log(1 + exp(-y z)), and 0 where y is 0: log odds z [..., N, I], y [N, I] of any dtype -> [..., N, I]."""
    sign = tf.cast(y, z.dtype)
    return tf.math.softplus(-sign * z) * tf.abs(sign), lambda upstream: (upstream * _slope(z, sign), None)


def _slope(z: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    """Return the derivative of `log_loss` by z, [..., N, I]."""
    return -sign * tf.sigmoid(-sign * z)


class Gaussian(Likelihood):
    """y ~ N(mean, scale^2). The outputs are [mean, log scale], or with a fixed noise_scale [mean].

    y, the outputs and the predictions are standardised: in multiples of `unit`. Losses and scores are in the target's
    own units: its density is that of y divided by `unit`.
    """

    score_name = "rmse"

    def __init__(self, noise_scale: float = 0.0, unit: float = 1.0):
        self.noise_scale, self.unit = noise_scale, unit

    def nll(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        mean, log_scale = self._parts(outputs)
        z = (y_N - mean) * tf.exp(-log_scale)
        return 0.5 * z * z + log_scale + (0.5 * math.log(2 * math.pi) + math.log(self.unit))

    def score_parts(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        mean, _ = self._parts(outputs)
        return tf.square(y_N - mean)

    def score_of_mean(self, mean: tf.Tensor) -> tf.Tensor:
        return self.unit * tf.sqrt(mean)

    def predictive(self, outputs: tf.Tensor) -> tf.Tensor:
        mean, log_scale = self._parts(outputs)
        return tf.stack([mean, tf.exp(log_scale) + tf.zeros_like(mean)], -1)

    def _parts(self, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if self.noise_scale:
            return outputs[..., 0], tf.constant(math.log(self.noise_scale))
        # Far from the data the log scale is unbounded; without these bounds its exponential would overflow.
        return outputs[..., 0], tf.clip_by_value(outputs[..., 1], -MAX_LOG_SCALE, MAX_LOG_SCALE)


class NormalMixture(Likelihood):
    """y [N, D] ~ sum_k weight_k N(mean_k, (A_k^T A_k)^-1): a mixture density network (Bishop 1994).

    Each component has a full covariance; A_k is the lower triangular factor of its precision, with the exponential of
    an output on the diagonal (Williams 1996), so that every output is a valid covariance. The outputs are K logits of
    the weights, K D means, K D logarithms of diagonals, K D (D - 1) / 2 entries below the diagonals.

    y, the outputs and the predictions are standardised: in multiples of `units`, one per column. Losses are in the
    target's own units: its density is that of y divided by the product of the units. The score is the root mean square
    error over all columns in standardised units.
    """

    score_name = "standardized_rmse"
    log_concave = False

    def __init__(self, components: int, units: tuple[float, ...]):
        self.components, self.columns = components, len(units)
        self.log_norm = 0.5 * self.columns * math.log(2 * math.pi) + sum(math.log(unit) for unit in units)

    def nll(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        log_weight, mean, log_diagonal, factor = self._parts(outputs)
        z = tf.linalg.matvec(factor, y[:, None, :] - mean)
        log_density = tf.reduce_sum(log_diagonal, -1) - 0.5 * tf.reduce_sum(z * z, -1)
        return self.log_norm - tf.reduce_logsumexp(log_weight + log_density, -1)

    def score_parts(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        log_weight, mean, _, _ = self._parts(outputs)
        mean_of_mixture = tf.reduce_sum(tf.exp(log_weight)[..., None] * mean, -2)
        return tf.reduce_mean(tf.square(y - mean_of_mixture), -1)

    def score_of_mean(self, mean: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(mean)

    def predictive(self, outputs: tf.Tensor) -> tf.Tensor:
        log_weight, mean, _, factor = self._parts(outputs)
        flat = tf.reshape(factor, tf.concat([tf.shape(mean)[:-1], [self.columns**2]], 0))
        packed = tf.concat([log_weight[..., None], mean, flat], -1)
        numbers = self.components * (1 + self.columns + self.columns**2)
        return tf.reshape(packed, tf.concat([tf.shape(outputs)[:-1], [numbers]], 0))

    def _parts(self, outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return log weights [..., N, K], means [..., N, K, D], log diagonals [..., N, K, D] and factors
        [..., N, K, D, D]."""
        below = self.columns * (self.columns - 1) // 2
        sizes = [self.components * size for size in (1, self.columns, self.columns, below)]
        logits, *parts = tf.split(outputs, sizes, -1)
        mean, log_diagonal, lower = (self._by_component(part) for part in parts)
        log_diagonal = tf.clip_by_value(log_diagonal, -MAX_LOG_SCALE, MAX_LOG_SCALE)
        return tf.nn.log_softmax(logits), mean, log_diagonal, self._factor(log_diagonal, lower)

    def _by_component(self, part: tf.Tensor) -> tf.Tensor:
        """Return [..., N, K n] as [..., N, K, n]."""
        sizes = [self.components, part.shape[-1] // self.components]
        return tf.reshape(part, tf.concat([tf.shape(part)[:-1], sizes], 0))

    def _factor(self, log_diagonal: tf.Tensor, lower: tf.Tensor) -> tf.Tensor:
        """Return the triangular matrices [..., D, D] with these numbers on and below the diagonal."""
        if self.columns == 1:
            return tf.exp(log_diagonal)[..., None]
        matrix = tf.reshape(
            tf.tensordot(lower, tf.constant(below_diagonal(self.columns)), 1),
            tf.concat([tf.shape(log_diagonal), [self.columns]], 0),
        )
        return tf.linalg.set_diag(matrix, tf.exp(log_diagonal))


class IndependentNormals(NormalMixture):
    """y [N, D] ~ N(mean, diag(scale^2)): a mixture of one component without correlation.

    The outputs are [mean (D), log scale (D)]; under --likelihood=gaussian the network appends the log scales, which are
    then the same for all examples.
    """

    def __init__(self, units: tuple[float, ...], equal_for_all: bool):
        super().__init__(1, units)
        self.log_concave = equal_for_all  # in the means, which are then the only outputs of the last layer

    def _parts(self, outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        mean, log_scale = tf.split(outputs[..., None, :], 2, -1)
        log_diagonal = -tf.clip_by_value(log_scale, -MAX_LOG_SCALE, MAX_LOG_SCALE)
        return tf.zeros_like(mean[..., 0]), mean, log_diagonal, tf.linalg.diag(tf.exp(log_diagonal))


class Labels(Likelihood):
    """A likelihood of examples with labels y [..., N, *label_shape], which are independent given the outputs
    [..., N, *label_shape, O]. Each label counts as an observation, so `nll` and `score_parts` are [..., L]."""

    def __init__(self, of_one: Likelihood, label_shape: tuple[int, ...]):
        self.of_one, self.axes, self.labels_per_example = of_one, len(label_shape), math.prod(label_shape)
        self.score_name, self.log_concave = of_one.score_name, of_one.log_concave

    def nll(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return self.of_one.nll(*self._merged(outputs, y))

    def total_nll(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return self.of_one.total_nll(*self._merged(outputs, y))

    def score_parts(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return self.of_one.score_parts(*self._merged(outputs, y))

    def score_of_mean(self, mean: tf.Tensor) -> tf.Tensor:
        return self.of_one.score_of_mean(mean)

    def predictive(self, outputs: tf.Tensor) -> tf.Tensor:
        return self.of_one.predictive(outputs)

    def _merged(self, outputs: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return outputs [..., L, O] and labels [..., L]."""
        before = outputs.shape[: -2 - self.axes]
        return (
            tf.reshape(outputs, [*before, -1, outputs.shape[-1]]),
            tf.reshape(y, [*y.shape[: -1 - self.axes], -1]),
        )


def below_diagonal(columns: int) -> np.ndarray:
    """Return [D (D - 1) / 2, D^2] of 0 and 1, which puts numbers below the diagonal of a flat [D, D], row by row."""
    places = np.ravel_multi_index(np.tril_indices(columns, -1), (columns, columns))
    return np.eye(columns**2, dtype=np.float32)[places]


def make(config: DataConfig, target: Target) -> Likelihood:
    """Return the likelihood that the flags name, or the target's default."""
    of_one = _of_one_label(config, target)
    return Labels(of_one, target.label_shape) if target.label_shape else of_one


def _of_one_label(config: DataConfig, target: Target) -> Likelihood:
    kind = target.likelihood(config.likelihood, config.noise_scale)
    if isinstance(target, RealVectors):
        if kind == "gaussian_mixture":
            return NormalMixture(config.components, target.scale)
        return IndependentNormals(target.scale, equal_for_all=kind == "gaussian")
    if not isinstance(target, RealValues):
        return Categorical() if kind == "categorical" else Bernoulli()
    return Gaussian(config.noise_scale / target.scale if kind == "gaussian" else 0.0, target.scale)


def _for_each(outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
    """Repeat the labels for each weight sample: [..., N]."""
    return y_N if len(outputs.shape) == 2 else tf.broadcast_to(y_N, tf.shape(outputs)[:-1])
