"""Check that the log posterior is that of all the data; run with any number of ranks:

    horovodrun -np 2 python tests/parallel/scripts/log_posterior_gradient.py

Each rank gets its share of the examples. Value and gradient of the log posterior must equal those of a single rank
that has all examples. The script also differentiates through Horovod's own all-reduce, whose gradient is one more
all-reduce: there the value must be right and the gradient wrong. The exit code is 0 if both are as expected, 1 if not.
"""

import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed import cluster, machine
from bnn_hvd.distributed.cluster import Cluster, Solo
from bnn_hvd.inference.log_posterior import LogPosterior

EXAMPLES, FEATURES = 37, 5
TOLERANCE = 1e-4  # of gradients of about 10, in float32


def main() -> int:
    ranks = cluster.connect()
    machine.set_up(1, ranks)
    random = np.random.default_rng(0)
    x, y = random.normal(size=[EXAMPLES, FEATURES]), random.normal(size=EXAMPLES)
    q = tf.constant(random.normal(size=[2, FEATURES]), tf.float32)
    mine = slice(EXAMPLES * ranks.rank // ranks.size, EXAMPLES * (ranks.rank + 1) // ranks.size)
    whole, shard = (Batch(tf.constant(x[rows], tf.float32), tf.constant(y[rows], tf.float32))
                    for rows in (slice(None), mine))  # fmt: skip
    value, gradient = differentiate(LogPosterior(log_likelihood, whole, Solo(), 1.0), q)
    its_value, its_gradient = differentiate(LogPosterior(log_likelihood, shard, ranks, 1.0), q)
    horovods_value, horovods_gradient = differentiate(lambda q: through_horovod(q, shard, ranks), q)
    right = max(ranks.gather(max(largest(its_value - value), largest(its_gradient - gradient))))
    wrong_value = max(ranks.gather(largest(horovods_value - value)))
    wrong = min(ranks.gather(largest(horovods_gradient - gradient)))
    if ranks.is_root:
        print(
            f"{ranks.size} ranks: difference from one rank {right:.1e}; through Horovod's gradient {wrong:.1e} "
            f"(its value {wrong_value:.1e})",
            flush=True,
        )
    ranks.barrier()
    return int(right > TOLERANCE or wrong_value > TOLERANCE or (ranks.size > 1) != (wrong > 100 * TOLERANCE))


def log_likelihood(q: tf.Tensor, batch: Batch) -> tf.Tensor:
    errors = batch.y - tf.matmul(q, batch.x, transpose_b=True)
    return -0.5 * tf.reduce_sum(tf.cast(tf.square(errors), tf.float64), -1)


def through_horovod(q: tf.Tensor, shard: Batch, ranks: Cluster) -> tf.Tensor:
    return tf.cast(ranks.sum([log_likelihood(q, shard)], "through")[0], tf.float32) - 0.5 * tf.reduce_sum(q * q, -1)


def differentiate(target: Callable[[tf.Tensor], tf.Tensor], q: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(q)
        value = target(q)
    return value, tape.gradient(value, q)


def largest(x: tf.Tensor) -> float:
    return float(np.abs(x).max())


if __name__ == "__main__":
    sys.exit(main())
