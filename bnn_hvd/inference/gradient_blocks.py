"""A step's gradient as a sum of K blocks in a fixed order: the same bits on 1, 2, 4, ..., K ranks (--gradient_blocks).

Floating-point sums depend on their order, so two ranks with half a batch each do not give the bits of one rank with
the whole batch. Here the global batch has K blocks, whatever the number R of ranks. Block b has its examples b, b + K,
b + 2K, ..., and its own noise. Ranks take the examples of a batch in turn (data/shards.py), so rank r has the blocks r,
r + R, r + 2R, ...: each is every (K / R)th of its rows. A block has the same shapes on every number of ranks.

The blocks are added pairwise: b and b + K/2, then of these sums b and b + K/4, and so on. With K a power of two, each
rank adds its own blocks first. All ranks then gather the R sums, and add them in the same order. The prior is in the
loss of each block, as it is in the loss of each rank without blocks.

Legend: K blocks, R ranks, M = K / R blocks of this rank, V values: tensors one after the other, then scalars.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.controls import Controls

Part = Callable[[Batch, Controls], tuple[list[tf.Tensor], dict[str, tf.Tensor]]]


class Sums(NamedTuple):
    """The sum over this rank's blocks, and how to split it into tensors and scalars."""

    sum_1V: tf.Tensor
    shapes: list[tf.TensorShape]  # of the tensors
    names: list[str]  # of the scalars
    ranks: int
    blocks: int

    def averages(self, sums_RV: tf.Tensor) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Return the averages over the blocks of all ranks, from the sums of the ranks [R, V]."""
        total_V = folded(tf.ensure_shape(sums_RV, [self.ranks, self.sum_1V.shape[1]]))[0]
        tensors, scalars = self._apart(total_V / self.blocks)
        _, here = self._apart(self.sum_1V[0] * (self.ranks / self.blocks))
        return tensors, scalars | {"loss_here": here["loss"]}

    def _apart(self, values_V: tf.Tensor) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        *flat, scalars = tf.split(values_V, [*(shape.num_elements() for shape in self.shapes), len(self.names)])
        tensors = [tf.reshape(part, shape) for part, shape in zip(flat, self.shapes, strict=True)]
        return tensors, dict(zip(self.names, tf.unstack(scalars), strict=True))


def sums(cluster: Cluster, batch: Batch, controls: Controls, part: Part) -> Sums:
    """Return the sum over this rank's blocks of what `part` returns for each."""
    count = cluster.gradient_blocks // cluster.size
    shapes: list[tf.TensorShape] = []
    names: list[str] = []

    def one(index: tf.Tensor) -> tf.Tensor:
        block = tf.cast(cluster.rank + cluster.size * index, tf.int64)
        tensors, scalars = part(
            batch.every(count, index), controls._replace(seed=seeds.derive(controls.seed, block=block))
        )
        shapes[:], names[:] = [tensor.shape for tensor in tensors], scalars
        flat = [tf.reshape(tensor, [tensor.shape.num_elements()]) for tensor in tensors]
        return tf.concat([*flat, tf.stack(list(scalars.values()))], 0)

    # A loop, also over one block: TensorFlow then optimises the same graph of a block, whatever their number.
    each_MV = tf.map_fn(one, tf.range(count), fn_output_signature=tf.float32, parallel_iterations=1)
    return Sums(folded(each_MV), shapes, names, cluster.size, cluster.gradient_blocks)


def folded(values_NV: tf.Tensor) -> tf.Tensor:
    """Return the sum over N, a power of two, as [1, V]: the upper half is added to the lower until one row is left."""
    while (count := values_NV.shape[0]) > 1:
        values_NV = values_NV[: count // 2] + values_NV[count // 2 :]
    return values_NV
