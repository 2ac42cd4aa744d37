"""The small convolutional network."""

import tensorflow as tf

from bnn_hvd.models import layers
from bnn_hvd.models.network import Layers


def conv(net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Conv 64 of 5x5, ReLU, max-pool 2x2, dense output; images [N, H, W, C]."""
    x = tf.nn.relu(net.conv("conv1", x, 64, 5, pool=True))  # the maximum and ReLU commute
    return net.dense("logits", layers.flatten(x, 3), net.num_outputs)
