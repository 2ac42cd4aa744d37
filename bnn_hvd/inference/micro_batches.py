"""A rank's batch in several parts, one after the other (--accumulate_steps): one exchange for all of them, and the
memory of one."""

import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.gradient_blocks import Part


def mean(batch: Batch, controls: Controls, part: Part) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
    """Return the means over the micro-batches of what `part(batch, controls)` returns: tensors, and scalars.

    The losses are means over examples, so their mean is that of the whole batch; the KL is in each of them, and so in
    their mean once. Micro-batch i has the examples i, i + k, i + 2 k, ..., and noise of its own.
    """
    count = batch.micro_batches
    if count == 1:
        return part(batch, controls)
    names: list[str] = []

    def one(index: tf.Tensor) -> list[tf.Tensor]:
        block = controls._replace(seed=seeds.derive(controls.seed, block=tf.cast(index, tf.int64)))
        tensors, scalars = part(batch.every(count, index)._replace(micro_batches=1), block)
        names[:] = scalars
        return [*tensors, tf.stack(list(scalars.values()))]

    def add(index: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return index + 1, *(total + here for total, here in zip(sums, one(index), strict=True))

    start = (tf.constant(1), *one(tf.constant(0)))
    _, *sums = tf.while_loop(lambda index, *_: index < count, add, start, parallel_iterations=1)
    *tensors, scalars = (total / count for total in sums)
    return tensors, dict(zip(names, tf.unstack(scalars), strict=True))
