"""Likelihoods p(y | outputs of a network), in nats. The equations are in docs/maths.md.

Legend: N examples, O outputs, C classes, I items. Outputs are [..., N, O], with any axes (members, draws) before N.
"""

import math
from typing import Protocol

import tensorflow as tf

from bnn_hvd.config.data import DataConfig
from bnn_hvd.noise import Gradient
from bnn_hvd.targets import RealValues, Target

MAX_LOG_SCALE = 15.0


class Likelihood(Protocol):
    """p(y | outputs).

    score_name: of the score that training logs.
    """

    score_name: str = "accuracy"

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
        [..., N, 2], mean and standard deviation."""


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


def make(config: DataConfig, target: Target) -> Likelihood:
    """Return the likelihood that the flags name, or the target's default."""
    kind = target.likelihood(config.likelihood, config.noise_scale)
    if not isinstance(target, RealValues):
        return Categorical() if kind == "categorical" else Bernoulli()
    return Gaussian(config.noise_scale / target.scale if kind == "gaussian" else 0.0, target.scale)


def _for_each(outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
    """Repeat the labels for each weight sample: [..., N]."""
    return y_N if len(outputs.shape) == 2 else tf.broadcast_to(y_N, tf.shape(outputs)[:-1])
