"""The small dense network."""

import tensorflow as tf

from bnn_hvd.models.network import Layers


def fc(net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Dense 64, ReLU, dense output; any example shape."""
    x = net.flatten(x)
    x = tf.nn.relu(net.dense("dense1", x, 64))
    return net.dense("logits", x, net.num_outputs)
