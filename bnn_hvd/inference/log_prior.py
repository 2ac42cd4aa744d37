"""The log prior of a flat parameter vector, in nats. The equations are in docs/maths.md."""

import math

import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.noise import Gradient

LARGE = 1 << 18  # numbers


def log_prior(theta: tf.Tensor, prior_scale: float) -> tf.Tensor:
    """Return log N(theta; 0, prior_scale^2), summed over the weights: [..., P] -> [...]."""
    return with_log_prior(theta, prior_scale)[1]


def with_log_prior(theta: tf.Tensor, prior_scale: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Return theta [..., P] as it is, and its log prior [...].

    What is to be done with theta is done with the one that is handed through: then its gradients from the data
    and from the prior are added in one loop, where TensorFlow would write all of them down one by one.
    """

    @tf.custom_gradient
    def handed_through(theta: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Gradient]:
        def gradient(to_theta: tf.Tensor, to_half_squares: tf.Tensor) -> tf.Tensor:
            return _added(to_theta, theta, to_half_squares)

        return (tf.identity(theta), _half_squares(theta)), gradient

    theta, half_squares = handed_through(theta)
    constant = float(theta.shape[-1]) * (math.log(prior_scale) + 0.5 * math.log(2 * math.pi))
    return theta, -half_squares / prior_scale**2 - constant


def _half_squares(theta: tf.Tensor) -> tf.Tensor:
    """Return half the sum of squares: [P] -> [], [M, P] -> [M]. Of one setting the squares need not be written down."""
    return tf.nn.l2_loss(theta) if len(theta.shape) == 1 else 0.5 * tf.reduce_sum(theta * theta, -1)


def _added(gradient: tf.Tensor, theta: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Return gradient + factor * theta, for each member with its own factor.

    The pass over memory that a compiled loop saves is worth its call, of about 0.1 ms, where there are many numbers.
    """
    if len(theta.shape) == 2 and theta.shape.num_elements() >= LARGE:
        return _added_to_each(gradient, theta, factor)
    return gradient + factor[..., None] * theta


@noise.compiled
def _added_to_each(gradient: tf.Tensor, theta: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    return gradient + factor[:, None] * theta
