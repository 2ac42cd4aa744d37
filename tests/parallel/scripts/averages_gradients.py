"""Check that the ranks average their gradients; run with any number of ranks:

    horovodrun -np 2 python tests/parallel/scripts/averages_gradients.py

Each rank gets its share of one batch and makes one step of plain gradient descent. If, and only if, the ranks average
their gradients, this step equals the one that a single rank makes with the whole batch. That must be so for a point
estimate and for a Bayesian network whose ranks are given the same weight noise. The KL divergence must be counted
once, not once per rank; its weight here is so large that it is half of the gradient. For each method, the script
prints the largest difference from the single rank's step, and from the step of a rank that averages nothing. The exit
code is 0 if the steps are equal, 1 if not.
"""

import sys

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.config import resolve
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed import cluster, machine
from bnn_hvd.distributed.cluster import Cluster, Solo
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.models.build import build_network
from bnn_hvd.targets import Classes

PER_RANK, FEATURES, CLASSES, NUM_TRAIN = 8, 12, 3, 1000
TOLERANCE = 2e-5  # of gradients of about 1, in float32
MODELS = {"CNN_FC": "point", "BNN_FC_nonflip": "vi, equal noise"}


def main() -> int:
    ranks = cluster.connect()
    machine.set_up(1, ranks)
    failed = False
    for model, title in MODELS.items():
        mine = share(whole_batch(ranks.size), ranks)
        averaged, whole, alone = (
            step(model, *case) for case in ((ranks, mine), (Solo(), whole_batch(ranks.size)), (Solo(), mine))
        )
        worst = max(ranks.gather(float(np.abs(averaged - whole).max())))
        separate = max(ranks.gather(float(np.abs(alone - whole).max())))
        failed |= worst > TOLERANCE or (ranks.size > 1 and separate < 100 * TOLERANCE)
        if ranks.is_root:
            print(
                f"{title:16} {ranks.size} ranks: largest gradient {np.abs(whole).max():.3f}, difference from one rank "
                f"with the whole batch {worst:.1e}, without averaging {separate:.1e}",
                flush=True,
            )
    ranks.barrier()
    return int(failed)


def whole_batch(size: int) -> Batch:
    rng = np.random.default_rng(0)
    x = rng.normal(size=[PER_RANK * size, FEATURES]).astype(np.float32)
    return Batch(tf.constant(x), tf.constant(rng.integers(CLASSES, size=len(x)), tf.int32))


def share(batch: Batch, ranks: Cluster) -> Batch:
    """Return this rank's stride of the batch."""
    return Batch(batch.x[ranks.rank :: ranks.size], batch.y[ranks.rank :: ranks.size])


def step(model: str, ranks: Cluster, batch: Batch) -> np.ndarray:
    """Return the change of the parameters in one step of size 1: minus the gradient."""
    config = resolve(model=model, optimizer="sgd", momentum=0.0)
    network = build_network(config, (FEATURES,), Classes(CLASSES))
    method = build_method(config, network, Classes(CLASSES), NUM_TRAIN, ranks)
    state = method.init(seeds.seed(0, "init"))
    before = state.params.numpy()
    noise = tf.constant(seeds.seed(0, "noise", 0, 0))  # the seed of rank 0, on every rank
    method.step(state, batch, Controls(noise, tf.constant(1.0), tf.constant(20.0)))
    return state.params.numpy() - before


if __name__ == "__main__":
    sys.exit(main())
