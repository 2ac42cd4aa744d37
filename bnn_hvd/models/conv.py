"""The small convolutional network."""

import tensorflow as tf

from bnn_hvd.models import layers
from bnn_hvd.models.network import Layers


def conv(net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Conv 64 of 5x5, ReLU, max-pool 2x2, dense output; images [N, H, W, C]."""
    # ReLU and max commute; pooled first, ReLU has a quarter of the numbers to look at.
    x = tf.nn.relu(layers.max_pool(net.conv("conv1", x, 64, 5)))
    return net.dense("logits", layers.flatten(x, 3), net.num_outputs)
