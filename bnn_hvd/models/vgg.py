"""Networks of 3x3 convolutions in blocks (Simonyan & Zisserman 2015)."""

import math

import tensorflow as tf

from bnn_hvd.models import layers
from bnn_hvd.models.network import Layers

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# ReLU halves the mean square (He et al. 2015); without a norm, thirteen layers would let nothing through.
GAIN_WITHOUT_NORM = math.sqrt(2)


def vgg16(net: Layers, x: tf.Tensor, *, normalization: str) -> tf.Tensor:
    """Thirteen 3x3 convs in five blocks with a max-pool after each, dense output; 32x32 pixels become one."""
    gain = GAIN_WITHOUT_NORM if normalization == "none" else 1.0
    for block, widths in enumerate(VGG16, start=1):
        for letter, filters in zip("abc", widths, strict=False):
            last = letter == "abc"[len(widths) - 1]
            x = net.conv(f"conv{block}{letter}", x, filters, 3, pool=last, initial_gain=gain)
            x = net.activate(f"conv{block}{letter}", x, normalization)
    return net.dense("logits", layers.flatten(x, 3), net.num_outputs)


def vgg3(net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Three blocks of two 3x3 convs and a max-pool (32, 64, 128 filters), dense 128, dense output."""
    for block, filters in enumerate((32, 64, 128), start=1):
        x = tf.nn.relu(net.conv(f"conv{block}a", x, filters, 3))
        x = tf.nn.relu(net.conv(f"conv{block}b", x, filters, 3, pool=True))  # the maximum and ReLU commute
    x = tf.nn.relu(net.dense("dense1", layers.flatten(x, 3), 128))
    return net.dense("logits", x, net.num_outputs)
