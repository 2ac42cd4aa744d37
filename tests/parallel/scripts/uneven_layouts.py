"""Check that ranks whose graphs differ communicate, and give what one rank gives; run with any number of ranks:

    horovodrun -np 2 python tests/parallel/scripts/uneven_layouts.py

Each layout is random: how many examples and threads a rank has, how many examples are in a chunk, how many particles a
rank has. So the graphs of the ranks differ: some have loops over chunks where others have none, or shapes of their own.
All ranks draw the layouts from one seed.
"""

import sys

import numpy as np
import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed import cluster, machine, particles
from bnn_hvd.distributed.cluster import Cluster, Solo
from bnn_hvd.errors import TrainingError
from bnn_hvd.inference import descent, hamiltonian
from bnn_hvd.inference.log_posterior import Local, LogPosterior
from bnn_hvd.inference.method import Controls
from bnn_hvd.inference.svgd import svgd_direction

LAYOUTS, FEATURES, LEAPFROGS = 3, 3, 2


def main() -> int:
    ranks = cluster.connect()
    machine.set_up(2, ranks)
    random = np.random.default_rng(5)
    for layout in range(LAYOUTS):
        for check in (check_trajectory, check_particles, check_gradient):
            check(ranks, random)
            if ranks.is_root:
                print(f"{check.__name__} {layout}", flush=True)
    check_what_differs_is_refused(ranks)
    ranks.barrier()
    return 0


def check_trajectory(ranks: Cluster, random: np.random.Generator) -> None:
    """A trajectory of shared and local coordinates, with examples in chunks, is that of one rank with all examples."""
    chunk, chains = int(random.integers(4, 40)), int(random.integers(1, 3))
    threads = random.integers(1, 4, ranks.size)
    shard = random_shard(ranks, random, examples := int(random.integers(20 * ranks.size, 60 * ranks.size)))
    x, y = (random.normal(size=shape).astype(np.float32) for shape in ([examples, FEATURES], [examples]))
    q, p = (random.normal(size=[chains, FEATURES + examples]).astype(np.float32) for _ in range(2))

    def trajectory(ranks: Cluster, mine: slice, threads: int) -> tuple[np.ndarray, np.ndarray]:
        def log_likelihood(q: tf.Tensor, batch: Batch) -> tf.Tensor:
            number = tf.cast(batch.x[:, -1], tf.int32)
            means = tf.matmul(q[:, :FEATURES], batch.x[:, :-1], transpose_b=True)
            errors = batch.y - means - tf.gather(q[:, FEATURES:], number, axis=1)
            return -0.5 * tf.reduce_sum(tf.cast(errors, tf.float64) ** 2, -1)

        numbers = np.arange(mine.stop - mine.start, dtype=np.float32)[:, None]
        batch = Batch(tf.constant(np.concatenate([x[mine], numbers], 1)), tf.constant(y[mine]))
        here = [np.concatenate([part[:, :FEATURES], part[:, FEATURES:][:, mine]], 1) for part in (q, p)]
        variables = [tf.Variable(part) for part in here]
        target = LogPosterior(
            log_likelihood, batch, ranks, 1.0, Local(FEATURES, mine, examples), chunk,
            lambda q, batch: tf.zeros(q.shape[:1]) + tf.cast(tf.shape(batch.x)[0], tf.float32), threads,
        )  # fmt: skip

        @tf.function(autograph=False)
        def step() -> tuple[tf.Tensor, tf.Tensor]:
            start_q, start_p = map(tf.convert_to_tensor, variables)
            start = target.evaluate(start_q, score=True)
            end = hamiltonian.leapfrog(target, start, start_q, start_p, tf.fill([chains], 0.05), LEAPFROGS)
            ratio = hamiltonian.log_accept_ratio(target, start_q, start_p, end)
            return end.q[:, :FEATURES], tf.stack([ratio, start.score, tf.cast(target.log_prior(end.q), tf.float32)])

        return run(step, ranks)

    found = trajectory(ranks, shard, int(threads[ranks.rank]))
    for mine, whole in zip(found, trajectory(Solo(), slice(0, examples), 1), strict=True):
        np.testing.assert_allclose(mine, whole, rtol=1e-3, atol=1e-3)


def check_particles(ranks: Cluster, random: np.random.Generator) -> None:
    """Stein's direction is that of one rank with all particles, also where ranks have different numbers of them."""
    count, size = int(random.integers(ranks.size, 4 * ranks.size)), int(random.integers(1, 5))
    theta, scores = (random.normal(size=[count, size]).astype(np.float32) for _ in range(2))
    mine = particles.share(range(count), ranks.rank, ranks.size, allow_uneven=True)
    rows = slice(mine.members.start, mine.members.stop)
    group = ranks.split(mine.ranks, rows.start)

    variables = [tf.Variable(part[rows]) for part in (theta, scores)]

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        here = [variable * 1.0 for variable in variables]
        if len(mine.members) % 2:  # the graph of a rank depends on its particles
            here = [part + 0.0 * tf.reduce_sum(part) for part in here]
        everyone = (tf.ensure_shape(part, [count, size]) for part in group.concat(here, "particles"))
        return svgd_direction(*everyone, rows)

    expected = svgd_direction(tf.constant(theta), tf.constant(scores), rows)
    np.testing.assert_allclose(run(step, ranks), expected, rtol=1e-4, atol=1e-5)


def check_gradient(ranks: Cluster, random: np.random.Generator) -> None:
    """The average of gradients is right where each rank adds up its own number of terms, in a loop or not."""
    terms, size = random.integers(1, 6, ranks.size), int(random.integers(1, 50))
    value = random.normal(size=[ranks.size, size]).astype(np.float32)
    count, variable = int(terms[ranks.rank]), tf.Variable(value[ranks.rank])

    def part(batch: Batch, controls: Controls) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        total = tf.zeros([size])
        if count > 3:
            total = tf.while_loop(lambda i, _: i < count, lambda i, t: (i + 1, t + variable), (0, total))[1]
        else:
            for _ in range(count):
                total += variable
        return [total], {"loss": tf.reduce_sum(total)}

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        nothing = Batch(tf.zeros([1]), tf.zeros([1]))
        controls = Controls(tf.zeros([2], tf.int64), tf.constant(0.0), tf.constant(0.0))
        return descent.over_batch(ranks, nothing, controls, part)[0][0]

    np.testing.assert_allclose(run(step, ranks), (terms[:, None] * value).mean(0), rtol=1e-5, atol=1e-6)


def check_what_differs_is_refused(ranks: Cluster) -> None:
    """Where the last rank's tensor has another shape, every rank is told so, and none waits."""
    last = ranks.rank == ranks.size - 1

    gradient = tf.Variable(tf.zeros([3 if last else 2]))

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        return ranks.mean([gradient * 2.0], "gradient")[0]

    said = ""
    try:
        run(step, ranks)
    except TrainingError as error:
        said = str(error)
    assert (ranks.size > 1) == said.startswith(
        f"rank {ranks.size - 1} would communicate gradient (mean of float32 [3]) where rank 0 would communicate "
        "gradient (mean of float32 [2])"
    ), said


def run(step: tf.types.experimental.PolymorphicFunction, ranks: Cluster) -> tf.Tensor:
    """Call a compiled function as training does: the ranks first agree on what they communicate."""
    step.get_concrete_function()
    ranks.check_collectives()
    return step()


def random_shard(ranks: Cluster, random: np.random.Generator, examples: int) -> slice:
    """Return this rank's part of the examples; cuts are anywhere."""
    cuts = np.sort(random.choice(np.arange(1, examples), ranks.size - 1, replace=False))
    edges = [0, *map(int, cuts), examples]
    return slice(edges[ranks.rank], edges[ranks.rank + 1])


if __name__ == "__main__":
    sys.exit(main())
