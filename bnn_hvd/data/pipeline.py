"""Examples in memory as TensorFlow sees them: kept as they came (uint8), converted batch by batch."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnn_hvd.data.standardize import Standardizer


class Batch(NamedTuple):
    """One rank's part of a step's batch: x [N, ...] float32, y [N] int32."""

    x: tf.Tensor
    y: tf.Tensor


class Examples:
    """The examples of one part of a data set, standardised as they are taken."""

    def __init__(self, x: np.ndarray, y: np.ndarray, standardizer: Standardizer):
        self.x, self.y = tf.constant(x), tf.constant(y)
        self.standardize = standardize_with(standardizer)

    def take(self, index_N: tf.Tensor) -> Batch:
        """Return the batch of these examples; inside a graph."""
        return Batch(self.standardize(tf.gather(self.x, index_N)), tf.gather(self.y, index_N))


class Shard:
    """All examples of this rank, standardised once: the batch of every step that sees the whole data."""

    def __init__(self, x: np.ndarray, y: np.ndarray, standardizer: Standardizer, mine: slice):
        self.batch = Batch(standardize_with(standardizer)(tf.constant(x[mine])), tf.constant(y[mine]))

    def take(self, index: tf.Tensor) -> Batch:
        """Return the shard; there is nothing to choose."""
        return self.batch


def standardize_with(standardizer: Standardizer) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return raw x [N, ...] -> (x - mean) * inv_std, float32."""
    mean, inv_std = tf.constant(standardizer.mean), tf.constant(standardizer.inv_std)
    return lambda x: (tf.cast(x, tf.float32) - mean) * inv_std
