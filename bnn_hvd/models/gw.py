"""The network for the parameters of gravitational waves: convolutions over the time of a whitened strain."""

import dataclasses

import tensorflow as tf

from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import NetworkOptions
from bnn_hvd.models import layers
from bnn_hvd.models.network import Layers

WIDTHS, DILATIONS, POOL, UNITS = (16, 16, 16, 32), (1, 2, 2, 2), 4, 128  # George & Huerta 2018, figure 4


@dataclasses.dataclass(frozen=True)
class GwOptions(NetworkOptions):
    """Flags of gw."""

    filters: int = flag(
        16, "network", "filters of the first convolution of gw; each of the others has twice as many as the one before",
        minimum=1,
    )  # fmt: skip


def gw(net: Layers, x: tf.Tensor, *, filters: int) -> tf.Tensor:
    """Four convolutions over time, each with a max-pool of 4 and ReLU, dense 128, dense output.

    The kernels are 16, 16, 16 and 32 wide, with a dilation of 2 after the first. Examples are series [N, T]; another
    shape is read as one series.
    """
    x = layers.flatten(x, len(x.shape) - 1)[..., None]
    for number, (width, dilation) in enumerate(zip(WIDTHS, DILATIONS, strict=True), 1):
        x = tf.nn.relu(net.conv1d(f"conv{number}", x, filters * 2 ** (number - 1), width, POOL, dilation))
    x = tf.nn.relu(net.dense("dense", layers.flatten(x, 2), UNITS))
    return net.dense("outputs", x, net.num_outputs)
