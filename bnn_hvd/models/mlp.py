"""The dense network for tables and curves."""

import tensorflow as tf

from bnn_hvd.models import layers
from bnn_hvd.models.network import Layers


def mlp(net: Layers, x: tf.Tensor, *, num_blocks: int, hidden: int) -> tf.Tensor:
    """Input, blocks of two dense layers with ReLU after each, output; no residuals; any example shape."""
    x = tf.nn.relu(net.dense("input", layers.flatten(x, len(x.shape) - 1), hidden))
    for block in range(1, num_blocks + 1):
        x = tf.nn.relu(net.dense(f"block{block}a", x, hidden))
        x = tf.nn.relu(net.dense(f"block{block}b", x, hidden))
    return net.dense("outputs", x, net.num_outputs)
