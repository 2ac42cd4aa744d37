"""The log prior N(0, prior_scale^2) of a flat parameter vector, in nats. The equations are in docs/maths.md."""

import math

import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.noise import Gradient

LARGE = 1 << 18  # numbers, from which a compiled loop pays


def log_prior(theta: tf.Tensor, prior_scale: float) -> tf.Tensor:
    """Return log N(theta; 0, prior_scale^2), summed over the weights: [..., P] -> [...]."""
    return with_log_prior(theta, prior_scale)[1]


def with_log_prior(theta: tf.Tensor, prior_scale: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Return theta [..., P] unchanged, and its log prior [...].

    The caller must compute the likelihood from the returned theta. The gradients from the data and from the prior are
    then added in one loop; TensorFlow alone would write each of them to memory first.
    """

    @tf.custom_gradient
    def with_half_squares(theta: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Gradient]:
        def gradient(to_theta: tf.Tensor, to_half_squares: tf.Tensor) -> tf.Tensor:
            return _added(to_theta, theta, to_half_squares)

        return (tf.identity(theta), _half_squares(theta)), gradient

    theta, half_squares = with_half_squares(theta)
    constant = float(theta.shape[-1]) * (math.log(prior_scale) + 0.5 * math.log(2 * math.pi))
    return theta, -half_squares / prior_scale**2 - constant


def _half_squares(theta: tf.Tensor) -> tf.Tensor:
    """Return half the sum of squares: [P] -> [], [M, P] -> [M]. l2_loss of [P] does not write the squares to memory."""
    return tf.nn.l2_loss(theta) if len(theta.shape) == 1 else 0.5 * tf.reduce_sum(theta * theta, -1)


def _added(gradient: tf.Tensor, theta: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Return gradient + factor * theta: [P], [P] and [], or [M, P], [M, P] and [M].

    A compiled loop saves a pass over memory, and its call takes about 0.1 ms: that pays for at least LARGE numbers.
    """
    if len(theta.shape) == 2 and theta.shape.num_elements() >= LARGE:
        return _added_to_each(gradient, theta, factor)
    return gradient + factor[..., None] * theta


@noise.compiled
def _added_to_each(gradient: tf.Tensor, theta: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    return gradient + factor[:, None] * theta
