"""The time, inside a graph."""

import time
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled  # TensorFlow says it nowhere else

from bnn_hvd.distributed.cluster import Cluster


def seconds() -> tf.Tensor:
    """Return the seconds of some clock, float64. Op determinism forbids TensorFlow's own; Python's takes longer."""
    return tf.numpy_function(time.time, [], tf.float64) if is_op_determinism_enabled() else tf.timestamp()


def timed(
    cluster: Cluster, tensors: Sequence[tf.Tensor], collective: Callable[[list[tf.Tensor]], list[tf.Tensor]]
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return what `collective(tensors)` returns, and the seconds that it took, waiting for slower ranks included.

    Of one rank: the tensors themselves, and 0.
    """
    if cluster.size == 1:
        return list(tensors), tf.constant(0.0)
    with tf.control_dependencies(tensors):
        start = seconds()
    with tf.control_dependencies([start]):
        results = collective([tf.identity(tensor) for tensor in tensors])
    with tf.control_dependencies(results):
        return results, tf.cast(seconds() - start, tf.float32)
