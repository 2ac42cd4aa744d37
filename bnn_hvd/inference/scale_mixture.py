"""The scale mixture prior: a wide and a narrow Normal around 0 (Blundell et al. 2015, eq. 7). In nats."""

import math
from typing import NamedTuple

import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.noise import Gradient


class ScaleMixture(NamedTuple):
    """p(w) = wide_weight N(w; 0, wide_scale^2) + (1 - wide_weight) N(w; 0, narrow_scale^2), for each weight."""

    wide_weight: float
    wide_scale: float
    narrow_scale: float

    def log_prob(self, w: tf.Tensor) -> tf.Tensor:
        """Return log p(w), summed over the weights: [..., B] -> [...]."""
        return _log_prob(w, tf.constant(self, w.dtype))

    def kl(self, w: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
        """Return an unbiased estimate of KL(q || p) from one draw w of q, summed over the weights: [..., B] -> [...].

        The cross-entropy with the prior has no closed form. The entropy of q has one, and is computed exactly.
        """
        entropy = tf.reduce_sum(log_scale, -1) + 0.5 * math.log(2 * math.pi * math.e) * float(log_scale.shape[-1])
        return -entropy - self.log_prob(w)


@tf.custom_gradient
def _log_prob(w: tf.Tensor, mixture: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    return _summed(w, mixture), lambda upstream: (upstream[..., None] * _slope(w, mixture), None)


@noise.compiled
def _summed(w: tf.Tensor, mixture: tf.Tensor) -> tf.Tensor:
    wide, narrow = _components(w, mixture)
    # log-sum-exp of the two, so that neither underflows.
    return tf.reduce_sum(tf.maximum(wide, narrow) + tf.math.log1p(tf.exp(-tf.abs(wide - narrow))), -1)


@noise.compiled
def _slope(w: tf.Tensor, mixture: tf.Tensor) -> tf.Tensor:
    """Return d log p / dw [..., B]: the slope -w / scale^2 of each component, weighted by its responsibility for w."""
    wide, narrow = _components(w, mixture)
    # Not 1 - is_wide: a tiny is_narrow must not be rounded to 0, because 1 / narrow_scale^2 is large.
    is_wide, is_narrow = tf.sigmoid(wide - narrow), tf.sigmoid(narrow - wide)
    return -w * (is_wide / mixture[1] ** 2 + is_narrow / mixture[2] ** 2)


def _components(w: tf.Tensor, mixture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log(weight * density) of the wide and of the narrow Normal: [..., B] each."""
    weight, wide, narrow = tf.unstack(mixture)
    constant = 0.5 * math.log(2 * math.pi)
    return (
        tf.math.log(weight) - tf.math.log(wide) - constant - 0.5 * (w / wide) ** 2,
        tf.math.log(1.0 - weight) - tf.math.log(narrow) - constant - 0.5 * (w / narrow) ** 2,
    )
