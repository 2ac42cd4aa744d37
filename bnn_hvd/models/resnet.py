"""Pre-activation residual networks (He et al. 2016b: norm, ReLU, conv) for images of 32x32.

The default norm is filter-response normalisation; batch norm is for comparison. The running means and variances of a
batch norm belong to one weight sample: distant posterior draws (of swag, hmc or svgd) would each need their own, as
Maddox et al. (2019) recompute them. A prediction also depends on the batches of training that they average.
"""

import tensorflow as tf

from bnn_hvd.models import layers
from bnn_hvd.models.network import Layers


def resnet20(net: Layers, x: tf.Tensor, *, normalization: str) -> tf.Tensor:
    """Three stages of three blocks of two 3x3 convs (16, 32, 64 filters), 20 layers."""
    return _resnet(net, x, (16, 32, 64), 3, normalization)


def resnet18(net: Layers, x: tf.Tensor, *, normalization: str) -> tf.Tensor:
    """Four stages of two blocks of two 3x3 convs (64, 128, 256, 512 filters); a 3x3 stem, as for CIFAR."""
    return _resnet(net, x, (64, 128, 256, 512), 2, normalization)


def _resnet(net: Layers, x: tf.Tensor, stages: tuple[int, ...], blocks: int, normalization: str) -> tf.Tensor:
    x = net.conv("stem", x, stages[0], 3)
    for stage, filters in enumerate(stages, start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _block(net, f"stage{stage}block{block}", x, filters, stride, normalization)
    x = net.activate("final", x, normalization)
    return net.dense("logits", layers.mean_over_image(x), net.num_outputs)


def _block(net: Layers, name: str, x: tf.Tensor, filters: int, stride: int, normalization: str) -> tf.Tensor:
    """Return x plus two convolutions of it, each after a norm. The sum is not normalised.

    Where the shape changes, the shortcut is a 1x1 convolution.
    """
    y = net.activate(f"{name}a", x, normalization)
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = net.conv(f"{name}shortcut", y, filters, 1, stride=stride)
    y = net.conv(f"{name}a", y, filters, 3, stride=stride)
    y = net.activate(f"{name}b", y, normalization)
    return shortcut + net.conv(f"{name}b", y, filters, 3)
