"""Compression of the gradient in an all-reduce: none, or float16 (`--compression`).

The scalars of a step are never compressed. There is no bfloat16, because Horovod cannot reduce it for TensorFlow.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from bnn_hvd.distributed.cluster import Cluster

# float16 loses precision below 6e-5. Gradients are often smaller: that of the KL by log scale is about 1 / num_train.
SCALE = 2.0**8
LARGEST = 65504 / SCALE  # an element of the average above it overflows, and the run stops


class Compression(NamedTuple):
    """How the gradient is sent.

    hint: what the error message suggests where the loss is not finite.
    """

    dtype: tf.DType
    hint: str = ""


COMPRESSIONS = {
    "none": Compression(tf.float32),
    "fp16": Compression(
        tf.float16, f", or do without --compression=fp16, which overflows where the gradient is above {LARGEST:.0f}"
    ),
}


def mean(cluster: Cluster, gradients: Sequence[tf.Tensor], scalars: tf.Tensor) -> list[tf.Tensor]:
    """Return the averages over the ranks, in the shapes given: of the gradients, compressed, and of the scalars.

    Each of p ranks sends g * SCALE / p. The sum is then at most SCALE times the average of |g|, so that more ranks do
    not overflow sooner. With fp16 the error of an element of the average is at most

        1.01 p (2^-11 mean_r |g_r| + 2^-25 / SCALE)

    because each number and each partial sum is rounded once. An element that is not finite on one rank, or that
    overflows, is not finite in the average.
    """
    dtype = COMPRESSIONS[cluster.compression].dtype
    if dtype == tf.float32:
        return cluster.mean([*gradients, scalars], "gradient")
    # Horovod groups only tensors of one type. The two all-reduces overlap.
    totals = cluster.sum([tf.cast(gradient * (SCALE / cluster.size), dtype) for gradient in gradients], "gradient")
    return [*(tf.cast(total, tf.float32) / SCALE for total in totals), *cluster.mean([scalars], "scalars")]
