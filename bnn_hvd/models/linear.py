"""One dense layer: logistic regression on classes, linear regression on real targets."""

import tensorflow as tf

from bnn_hvd.models import layers
from bnn_hvd.models.network import Layers


def linear(net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Dense output; any example shape."""
    return net.dense("logits", layers.flatten(x, len(x.shape) - 1), net.num_outputs)
