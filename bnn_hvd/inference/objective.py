"""What a step and a draw are given, and the prior, in nats. The equations are in docs/maths.md."""

import math
from typing import NamedTuple

import tensorflow as tf


class Controls(NamedTuple):
    """What the host decides for one step."""

    seed: tf.Tensor  # [2] int64, of this rank's noise; [M, 2] for M members
    learning_rate: tf.Tensor
    kl_weight: tf.Tensor


class Draws(NamedTuple):
    """Which posterior draws to make: the same ones on every rank, whatever draws are beside them."""

    index: tf.Tensor  # [S] int32, counting from 0
    seeds: tf.Tensor  # [S, 2] int64


def log_prior(theta: tf.Tensor, prior_scale: float) -> tf.Tensor:
    """Return log N(theta; 0, prior_scale^2), summed over the weights: [..., P] -> [...]."""
    constant = float(theta.shape[-1]) * (math.log(prior_scale) + 0.5 * math.log(2 * math.pi))
    # Of one setting the squares need not be written down.
    half_squares = tf.nn.l2_loss(theta) if len(theta.shape) == 1 else 0.5 * tf.reduce_sum(theta * theta, -1)
    return -half_squares / prior_scale**2 - constant
