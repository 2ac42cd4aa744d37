"""A network whose ranks are slow at random, for `network`: a step sleeps 10 ms, and on average 20 ms more."""

import time
from typing import Any

import numpy as np
import tensorflow as tf

FIXED_S, RANDOM_S = 0.010, 0.020
RANDOM = np.random.default_rng()  # another one on each rank


def pause() -> np.float32:
    time.sleep(FIXED_S + RANDOM.exponential(RANDOM_S))
    return np.float32(0)


def straggling(net: Any, x: tf.Tensor) -> tf.Tensor:
    """Return logistic regression, after the pause."""
    with tf.control_dependencies([tf.numpy_function(pause, [], tf.float32)]):
        x = tf.identity(x)
    return net.dense("outputs", net.flatten(x), net.num_outputs)
