"""One dense layer: logistic regression on classes, linear regression on real targets."""

import dataclasses

import tensorflow as tf

from bnn_hvd.config.options import NetworkOptions
from bnn_hvd.models.network import Layers


@dataclasses.dataclass(frozen=True)
class LinearOptions(NetworkOptions):
    """Facts of linear; it has no flags of its own."""

    single_layer = True


def linear(net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Dense output; any example shape."""
    return net.dense("logits", net.flatten(x), net.num_outputs)
