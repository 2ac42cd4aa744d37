"""Check every collective operation against numpy; run with any number of ranks:

horovodrun -np 2 python tests/parallel/scripts/collectives.py FOLDER
"""

import copy
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.config import compose, resolve
from bnn_hvd.distributed import cluster, machine, objects
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import TrainingError
from bnn_hvd.inference import compression
from bnn_hvd.inference.method import State
from bnn_hvd.inference.optimizers import SGD
from bnn_hvd.run import records
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.training import train
from bnn_hvd.training.plan import Plan
from bnn_hvd.training.population import Population


def check_mean(ranks: Cluster, folder: Path) -> None:
    """The mean is right in a graph, repeatedly, and for tensors of several shapes."""
    values = [np.arange(5, dtype=np.float32) * (rank + 1) for rank in range(ranks.size)]
    mine = values[ranks.rank]
    for _ in range(3):
        vector, scalar = tf.function(ranks.mean)([tf.constant(mine), tf.constant(mine[1])], "check")
        np.testing.assert_allclose(vector, np.mean(values, 0), rtol=1e-6)
        np.testing.assert_allclose(scalar, np.mean(values, 0)[1], rtol=1e-6)


def check_compressed_mean(ranks: Cluster, folder: Path) -> None:
    """The error is within the stated bound for gradients of all magnitudes; scalars are not rounded at all."""
    half = copy.copy(ranks)
    half.compression = "fp16"
    mean = tf.function(lambda gradient, scalars: compression.mean(half, [gradient], scalars))
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=[ranks.size, 40_000]) * 10 ** rng.uniform(-8, 1.5, size=40_000)
    gradients = gradients.astype(np.float32)
    scalars = np.float32([1 / 3, 1e6 + 1 / 3, 1e-12])
    gradient, same = (found.numpy() for found in mean(tf.constant(gradients[ranks.rank]), tf.constant(scalars)))
    exact, sizes = gradients.astype(np.float64).mean(0), np.abs(gradients).mean(0)
    bound = 1.01 * ranks.size * (2**-11 * sizes + 2**-25 / compression.SCALE)
    worst = float((np.abs(gradient - exact) / bound).max())
    assert 0.1 < worst <= 1, worst  # the lower bound shows that it is rounded
    np.testing.assert_allclose(same, scalars, rtol=2e-7)
    assert len({found.tobytes() for found in ranks.gather(gradient)}) == 1


def check_compressed_mean_of_what_is_not_finite(ranks: Cluster, folder: Path) -> None:
    """An element that is not finite, or too large, on the last rank is not finite in the mean; the others are."""
    half = copy.copy(ranks)
    half.compression = "fp16"
    last = ranks.rank == ranks.size - 1
    bad = np.float32([1, np.nan, np.inf, -np.inf, 1.01 * ranks.size * compression.LARGEST] if last else [1] * 5)
    gradient, _ = compression.mean(half, [tf.constant(bad)], tf.constant([0.0]))
    assert np.isfinite(gradient).tolist() == [True] + [False] * 4, gradient
    together, _ = compression.mean(half, [tf.fill([2], 0.99 * compression.LARGEST)], tf.constant([0.0]))
    np.testing.assert_allclose(together, 0.99 * compression.LARGEST, rtol=1e-3)  # the sum has no overflow


def check_any(ranks: Cluster, folder: Path) -> None:
    for true_on in range(ranks.size):
        assert ranks.any(ranks.rank == true_on) is True
    assert ranks.any(False) is False


def check_join(ranks: Cluster, folder: Path) -> None:
    """In a graph, `join` returns the rows of all ranks in order of rank."""
    rows, numbers = tf.function(ranks.join)(
        [tf.fill([2, 3], float(ranks.rank)), tf.constant([ranks.rank + 0.5])], "check"
    )
    np.testing.assert_array_equal(rows[:, 1], np.repeat(np.arange(ranks.size), 2))
    np.testing.assert_array_equal(numbers, np.arange(ranks.size) + 0.5)


def check_max(ranks: Cluster, folder: Path) -> None:
    assert ranks.max([ranks.rank, -ranks.rank, 0.5]) == [ranks.size - 1, 0, 0.5]
    assert ranks.max([1e9 * (ranks.rank + 1)]) == [np.float32(1e9 * ranks.size)]


def check_gather(ranks: Cluster, folder: Path) -> None:
    """`gather` returns the objects of all ranks, which differ in size, in order of rank."""
    gathered = ranks.gather({"rank": ranks.rank, "array": np.full(ranks.rank, 0.5)})
    assert [part["rank"] for part in gathered] == list(range(ranks.size))
    assert [part["array"].tolist() for part in gathered] == [[0.5] * rank for rank in range(ranks.size)]


def check_broadcast(ranks: Cluster, folder: Path) -> None:
    assert ranks.broadcast(("from", ranks.rank)) == ("from", 0)


def check_scatter(ranks: Cluster, folder: Path) -> None:
    values = [{"rank": rank, "array": np.full(rank, 0.5)} for rank in range(ranks.size)]
    found = ranks.scatter(values if ranks.is_root else None)
    assert found["rank"] == ranks.rank
    assert found["array"].tolist() == [0.5] * ranks.rank


def check_gather_on_root(ranks: Cluster, folder: Path) -> None:
    gathered = ranks.gather_on_root({"rank": ranks.rank, "array": np.full(ranks.rank, 0.5)})
    assert (gathered is not None) == ranks.is_root
    for rank, part in enumerate(gathered or []):
        assert part["rank"] == rank
        assert part["array"].tolist() == [0.5] * rank


def check_objects_in_many_pieces(ranks: Cluster, folder: Path) -> None:
    """The same holds of objects of many pieces: a limit of a few bytes is for them what 2 GiB are for MPI."""
    limit, objects.MOST_BYTES = objects.MOST_BYTES, 100
    for check in (check_gather, check_broadcast, check_scatter, check_gather_on_root):
        check(ranks, folder)
    objects.MOST_BYTES = limit


def check_shared_cores(ranks: Cluster, folder: Path) -> None:
    """Ranks with the same 6 of 64 cores share them; with cores of their own, they have them all."""
    of_process = os.sched_getaffinity
    try:
        os.sched_getaffinity = lambda _: set(range(6))
        assert machine.choose_threads(0, ranks) == max(1, 6 // ranks.size)
        os.sched_getaffinity = lambda _: set(range(6 * ranks.rank, 6 * ranks.rank + 6))
        assert machine.choose_threads(0, ranks) == 6
    finally:
        os.sched_getaffinity = of_process


def check_weights_that_differ(ranks: Cluster, folder: Path) -> None:
    """If one weight of the last rank differs in its last bit, no checkpoint is written and the error names the rank."""
    config, state = compose(run=str(folder), keep=2), State(tf.ones([1000]), SGD(0.0))
    task = SimpleNamespace(config=config, ranks=ranks, state=state, population=Population(config, ranks))
    checkpoints = folder / records.CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    train.save(task, Progress(step=1))
    if ranks.rank == ranks.size - 1:
        state.params[777].assign(np.nextafter(np.float32(1), np.float32(2)))
    said = ""
    try:
        train.save(task, Progress(step=2))
    except TrainingError as error:
        said = str(error)
    if ranks.size > 1:
        assert f"the weights at step 2 differ from rank 0's on ranks [{ranks.size - 1}]" in said, said
    else:
        assert said == ""
    steps = [path.name[:15] for path in sorted(checkpoints.glob("step-*.npz"))]
    assert steps == ["step-0000000001", "step-0000000002"][: 1 + (ranks.size == 1)], steps


def check_noise_differs_by_rank(ranks: Cluster, folder: Path) -> None:
    """Each rank draws its own noise, from its own examples; together they use each example once."""
    plan = Plan(resolve(batch_size=4, epochs=1), 100, ranks.rank, ranks.size)
    call = plan.next_call(Progress(), 3)
    eps = [noise.normals(tf.constant(seed), 50).numpy() for seed in call.seeds_T2]
    drawn = np.concatenate(ranks.gather(eps))
    assert len(np.unique(drawn[:, 0])) == 3 * ranks.size  # different for every rank and step
    assert np.abs(np.corrcoef(drawn) - np.eye(len(drawn))).max() < 0.8  # it is not the same noise shifted or scaled
    examples = np.concatenate(ranks.gather(call.examples), axis=None)
    assert len(np.unique(examples)) == 3 * 4 * ranks.size


def main(folder: Path) -> None:
    ranks = cluster.connect()
    machine.set_up(1, ranks)
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check(ranks, folder)
            if ranks.is_root:
                print(f"{name} with {ranks.size}", flush=True)
    ranks.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
