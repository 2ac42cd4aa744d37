"""What of the gradient the ranks send each other: all of it, or half of its bits (`--compression`).

Scalars of the loss are never compressed. Horovod reduces no bfloat16 for TensorFlow, so there is no such row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from bnn_hvd.distributed.cluster import Cluster

# float16 loses precision below 6e-5, where gradients often are: the KL's of log scale is about 1 / num_train.
SCALE = 2.0**8
LARGEST = 65504 / SCALE  # an element of the average above it becomes infinite, and ends the run


class Compression(NamedTuple):
    """How the gradient is sent."""

    dtype: tf.DType
    hint: str = ""  # what else to try where the loss is not finite


COMPRESSIONS = {
    "none": Compression(tf.float32),
    "fp16": Compression(
        tf.float16, f", or do without --compression=fp16, which overflows where the gradient is above {LARGEST:.0f}"
    ),
}


def mean(cluster: Cluster, gradients: Sequence[tf.Tensor], scalars: tf.Tensor) -> list[tf.Tensor]:
    """Return the averages over the ranks: of the gradients as `cluster.compression` has it, and of the scalars.

    Each of p ranks sends g * SCALE / p: the sum is then no larger than the average of |g|, and many ranks
    overflow no sooner than one. With fp16 the average of an element is wrong by at most

        1.01 p (2^-11 mean_r |g_r| + 2^-25 / SCALE)

    (each number is rounded once, and each sum of some of them). What is not finite on one rank, and what
    overflows, is not finite in the average.
    """
    dtype = COMPRESSIONS[cluster.compression].dtype
    if dtype == tf.float32:
        return cluster.mean([*gradients, scalars])
    # Horovod groups only tensors of one type. The two all-reduces are under way at the same time.
    totals = cluster.sum([tf.cast(gradient * (SCALE / cluster.size), dtype) for gradient in gradients])
    return [*(tf.cast(total, tf.float32) / SCALE for total in totals), *cluster.mean([scalars])]
