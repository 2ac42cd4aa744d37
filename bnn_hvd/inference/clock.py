"""The time, inside a graph."""

import time
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled  # not in its public API

from bnn_hvd.distributed.cluster import Cluster


def seconds() -> tf.Tensor:
    """Return the time in seconds, float64. Op determinism forbids TensorFlow's clock; Python's is slower."""
    return tf.numpy_function(time.time, [], tf.float64) if is_op_determinism_enabled() else tf.timestamp()


def timed(
    cluster: Cluster, tensors: Sequence[tf.Tensor], collective: Callable[[list[tf.Tensor]], list[tf.Tensor]]
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return `collective(tensors)`, and how long it took in seconds [], including the wait for slower ranks.

    With one rank: the tensors themselves, and 0.
    """
    if cluster.size == 1:
        return list(tensors), tf.constant(0.0)
    with tf.control_dependencies(tensors):
        start = seconds()
    with tf.control_dependencies([start]):
        results = collective([tf.identity(tensor) for tensor in tensors])
    with tf.control_dependencies(results):
        return results, tf.cast(seconds() - start, tf.float32)
