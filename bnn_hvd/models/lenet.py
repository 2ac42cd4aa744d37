"""LeNet-5 (LeCun et al. 1998), as it is built today: ReLU and max-pools."""

import tensorflow as tf

from bnn_hvd.models import layers
from bnn_hvd.models.network import Layers


def lenet5(net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Conv 6 of 5x5, pool, conv 16 of 5x5, pool, dense 120, 84 and the output; images [N, H, W, C]."""
    x = tf.nn.relu(net.conv("conv1", x, 6, 5, pool=True))  # the maximum and ReLU commute
    x = tf.nn.relu(net.conv("conv2", x, 16, 5, pool=True))
    x = tf.nn.relu(net.dense("dense1", layers.flatten(x, 3), 120))
    x = tf.nn.relu(net.dense("dense2", x, 84))
    return net.dense("logits", x, net.num_outputs)
