"""Likelihoods: what a network's outputs say about y, in nats. The equations are in docs/maths.md.

Outputs are [..., N, O]: any axes (members, draws) before the examples.
"""

from typing import Protocol

import tensorflow as tf


class Likelihood(Protocol):
    """p(y | outputs)."""

    def nll(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        """Return -log p(y_n | outputs_n): [..., N, O] -> [..., N]."""

    def score(self, outputs: tf.Tensor, y_N: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what is logged of a batch beside the loss, by name: [..., N, O] -> [...]."""


class Categorical:
    """Class probabilities softmax(logits); y are class numbers."""

    def nll(self, outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(_for_each(outputs, y_N), outputs)

    def score(self, outputs: tf.Tensor, y_N: tf.Tensor) -> dict[str, tf.Tensor]:
        right = tf.math.in_top_k(
            tf.reshape(_for_each(outputs, y_N), [-1]), tf.reshape(outputs, [-1, outputs.shape[-1]]), 1
        )
        right = tf.reshape(tf.cast(right, tf.float32), tf.shape(outputs)[:-1])
        return {"accuracy": tf.reduce_mean(right, -1)}


def _for_each(outputs: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
    """Repeat the labels for each setting of the weights: [..., N]."""
    return y_N if len(outputs.shape) == 2 else tf.broadcast_to(y_N, tf.shape(outputs)[:-1])
