"""The dense network for tables and curves."""

import dataclasses

import tensorflow as tf

from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import NetworkOptions
from bnn_hvd.models.network import Layers


@dataclasses.dataclass(frozen=True)
class MlpOptions(NetworkOptions):
    """Flags of mlp."""

    hidden: int = flag(64, "network", "units of each hidden layer of mlp", minimum=1)
    num_blocks: int = flag(2, "network", "blocks of two dense layers in mlp", minimum=0)


def mlp(net: Layers, x: tf.Tensor, *, num_blocks: int, hidden: int) -> tf.Tensor:
    """Dense input, blocks of two dense layers, dense output; ReLU between them, no residuals; any example shape."""
    x = tf.nn.relu(net.dense("input", net.flatten(x), hidden))
    for block in range(1, num_blocks + 1):
        x = tf.nn.relu(net.dense(f"block{block}a", x, hidden))
        x = tf.nn.relu(net.dense(f"block{block}b", x, hidden))
    return net.dense("outputs", x, net.num_outputs)
