"""The time, inside a graph."""

import time

import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled  # TensorFlow says it nowhere else


def seconds() -> tf.Tensor:
    """Return the seconds of some clock, float64. Op determinism forbids TensorFlow's own; Python's takes longer."""
    return tf.numpy_function(time.time, [], tf.float64) if is_op_determinism_enabled() else tf.timestamp()
