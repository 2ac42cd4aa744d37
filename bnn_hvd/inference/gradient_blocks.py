"""A step's gradient in K blocks that are added in one order: the same bits on 1, 2, 4, ... K ranks (--gradient_blocks).

Floating-point sums depend on their order, so half a batch on each of two ranks is not the whole on one. Here the
global batch is K blocks, whatever the number R of ranks: block b has the examples at the places b, b + K, b + 2K, ...
of it, and noise of its own. The batch is dealt out like cards (data/shards.py), so rank r has the blocks r, r + R,
r + 2R, ...: of its rows, every (K / R)th. Each is a computation of the same shapes everywhere. The blocks are added by
halves: b and b + K/2, of these b and b + K/4, and so on. With K a power of two, what meets is on one rank until
each rank has one sum; these all ranks get, and go on alike. The prior is in the loss of each block, as without blocks
in that of each rank.

Legend: K blocks, R ranks, M = K / R blocks of this rank, V values: tensors one after the other, then scalars.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.method import Controls

Part = Callable[[Batch, Controls], tuple[list[tf.Tensor], dict[str, tf.Tensor]]]


class Sums(NamedTuple):
    """What this rank has added up, and how to take it apart."""

    sum_1V: tf.Tensor
    shapes: list[tf.TensorShape]  # of the tensors
    names: list[str]  # of the scalars
    ranks: int
    blocks: int

    def averages(self, sums_RV: tf.Tensor) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Return the averages over the blocks of all ranks, whose sums these are."""
        total_V = folded(tf.ensure_shape(sums_RV, [self.ranks, self.sum_1V.shape[1]]))[0]
        tensors, scalars = self._apart(total_V / self.blocks)
        _, here = self._apart(self.sum_1V[0] * (self.ranks / self.blocks))
        return tensors, scalars | {"loss_here": here["loss"]}

    def _apart(self, values_V: tf.Tensor) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        *flat, scalars = tf.split(values_V, [*(shape.num_elements() for shape in self.shapes), len(self.names)])
        tensors = [tf.reshape(part, shape) for part, shape in zip(flat, self.shapes, strict=True)]
        return tensors, dict(zip(self.names, tf.unstack(scalars), strict=True))


def sums(cluster: Cluster, batch: Batch, controls: Controls, part: Part) -> Sums:
    """Return the sum over this rank's blocks of what `part` returns of each."""
    count = cluster.gradient_blocks // cluster.size
    shapes: list[tf.TensorShape] = []
    names: list[str] = []

    def one(place: tf.Tensor) -> tf.Tensor:
        rows = Batch(*(tf.gather(tf.reshape(v, [-1, count, *v.shape[1:]]), place, axis=1) for v in batch))
        block = tf.cast(cluster.rank + cluster.size * place, tf.int64)
        tensors, scalars = part(rows, controls._replace(seed=seeds.derive(controls.seed, block=block)))
        shapes[:], names[:] = [tensor.shape for tensor in tensors], scalars
        flat = [tf.reshape(tensor, [tensor.shape.num_elements()]) for tensor in tensors]
        return tf.concat([*flat, tf.stack(list(scalars.values()))], 0)

    # A loop, also over one block: TensorFlow then optimises the same graph of a block, however many there are.
    each_MV = tf.map_fn(one, tf.range(count), fn_output_signature=tf.float32, parallel_iterations=1)
    return Sums(folded(each_MV), shapes, names, cluster.size, cluster.gradient_blocks)


def folded(values_NV: tf.Tensor) -> tf.Tensor:
    """Return the sum over N, a power of two, as [1, V]: the upper half of the rows is added to the lower one."""
    while (count := values_NV.shape[0]) > 1:
        values_NV = values_NV[: count // 2] + values_NV[count // 2 :]
    return values_NV
