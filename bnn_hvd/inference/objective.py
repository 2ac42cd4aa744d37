"""What a step is given, likelihoods and the prior, in nats. The equations are in docs/maths.md."""

import math
from typing import NamedTuple

import tensorflow as tf


class Controls(NamedTuple):
    """What the host decides for one step."""

    seed: tf.Tensor  # [2] int64, of this rank's noise
    learning_rate: tf.Tensor
    kl_weight: tf.Tensor


def categorical_nll(logits_NC: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
    """Return -log p(y_n | logits_n) [N]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(y_N, logits_NC)


def log_prior(theta: tf.Tensor, prior_scale: float) -> tf.Tensor:
    """Return log N(theta; 0, prior_scale^2), summed over all weights."""
    constant = float(theta.shape[0]) * (math.log(prior_scale) + 0.5 * math.log(2 * math.pi))
    return -tf.nn.l2_loss(theta) / prior_scale**2 - constant
