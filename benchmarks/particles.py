"""The time of a step of several particles, on one rank and on two: an ensemble of dense networks on `sine`."""

from typing import Any

from benchmarks import jobs, ours
from benchmarks.report import Bar, Report, Row, find, ratio, table
from benchmarks.workers import Case, Sample

COUNTS = (1, 2, 4, 8)
SMALL, LARGE = 32, 2048  # hidden units
BATCH_SIZES = {SMALL: (64,), LARGE: (64, 256)}
STEPS = {SMALL: 300, LARGE: 2}  # of a repetition
MOST_TIMES, LEAST_GAIN = 2.5, 1.8
NOTES = """
A step is one of the loop of `train` with `--method=ensemble --architecture=mlp --dataset=sine` (an input layer, two
blocks of two dense layers, an output layer), on ranks of one thread. The particles of a rank are computed together:
their matrix products are batched, and one optimizer updates all of them. On two ranks, each rank has half of the
particles, and the ranks never communicate.

Eight particles of 2048 units have 134 million weights. Beside the matrix products, a step reads or writes all weights
about twelve times, seven of them in Adam. At batch 64 this is half of its time, and two cores share the bandwidth of
the memory.
"""


def run(quick: bool) -> Report:
    """Alternate jobs of one rank and of two."""
    spec, rounds = {"rounds": 8}, 3
    if quick:
        spec, rounds = {"rounds": 1}, 1
    samples: dict[tuple[int, int, int, int], list[Sample]] = {}
    for _ in range(rounds):
        for ranks in (1, 2):
            for *case, wall_ms, cpu_ms in jobs.run("benchmarks.particles", {**spec, "ranks": ranks}, ranks):
                samples.setdefault((*case, ranks), []).append(Sample(wall_ms, cpu_ms))
    rows = [
        Row.of(
            measured, network=f"mlp {hidden}", kind=f"{count} particles", library=ours.NAME, threads=1, ranks=ranks,
            batch_size=batch_size,
        )
        for (hidden, batch_size, count, ranks), measured in samples.items()
    ]  # fmt: skip
    header = ("network", "batch", "particles", "ranks", "median ms", "min ms")
    lines = [[r.network, r.batch_size, r.kind.split()[0], r.ranks, r.step_ms, r.step_ms_min] for r in rows]
    return Report("particles", "Several particles on a rank", rows, bars(rows), [table(header, lines)], NOTES)


def bars(rows: list[Row]) -> list[Bar]:
    def of(hidden: int, count: int, ranks: int, batch_size: int) -> Row:
        found = find(rows, network=f"mlp {hidden}", kind=f"{count} particles", ranks=ranks, batch_size=batch_size)
        assert found
        return found

    name = f"mlp {SMALL}: 8 particles / 1"
    found = [ratio(name, of(SMALL, 8, 1, 64), of(SMALL, 1, 1, 64), at_most=MOST_TIMES)]
    for batch_size in BATCH_SIZES[LARGE]:
        name = f"mlp {LARGE}, 8 particles, batch {batch_size}: 1 rank / 2 ranks"
        alone, both = (of(LARGE, 8, ranks, batch_size) for ranks in (1, 2))
        found.append(ratio(name, alone, both, at_least=LEAST_GAIN))
    return found


def ensemble(hidden: int, batch_size: int, members: range) -> Case:
    """Return the loop of `train` over these members of an ensemble."""
    import numpy as np

    from bnn_hvd import seeds
    from bnn_hvd.config import resolve
    from bnn_hvd.data import sources, standardize
    from bnn_hvd.data.pipeline import Examples
    from bnn_hvd.distributed.cluster import Solo
    from bnn_hvd.inference.build import build_method
    from bnn_hvd.models.build import build_network
    from bnn_hvd.run.checkpoint import Progress
    from bnn_hvd.training.loop import compile_loop
    from bnn_hvd.training.plan import Plan

    config = resolve(
        architecture="mlp", method="ensemble", dataset="sine", hidden=hidden, batch_size=batch_size, steps=10**6
    )
    arrays = sources.load("sine", "")
    target = arrays.target()
    method = build_method(config, build_network(config, (1,), target), target, len(arrays.x_train), Solo(), members)
    state = method.init(seeds.seed(0, "init"))
    examples = Examples(arrays.x_train, target.standardized(arrays.y_train), standardize.fit(arrays.x_train, "channel"))
    loop = compile_loop(method.step, state, examples, (config.data.batch_size,), Solo())
    call = Plan(config, len(arrays.x_train), 0, 1).next_call(Progress(), 10)

    def run(steps: int) -> None:
        indices = np.arange(steps) % call.steps
        loop(type(call)(*(part[indices] for part in call)))

    return Case(f"mlp {hidden}", f"{len(members)} particles", run)


def main(spec: dict[str, Any]) -> tuple[int, list[tuple[int, int, int, float, float]]]:
    """Time this rank's particles; returns the rank, and rows (hidden, batch, particles of all, wall ms, cpu ms)."""
    ours.start_tensorflow(1)
    from bnn_hvd.distributed import cluster, particles

    ranks = cluster.connect()
    rows: list[tuple[int, int, int, float, float]] = []
    for hidden, counts in ((SMALL, COUNTS if ranks.size == 1 else ()), (LARGE, COUNTS[-1:])):
        shares = {count: particles.share(range(count), ranks.rank, ranks.size).members for count in counts}
        cases = {
            (batch_size, count): ensemble(hidden, batch_size, mine)
            for batch_size in BATCH_SIZES[hidden]
            for count, mine in shares.items()
        }
        for case, *times in jobs.time_together(cases, STEPS[hidden], ranks, spec["rounds"]):
            rows.append((hidden, *case, *times))
    ranks.barrier()
    return ranks.rank, rows


if __name__ == "__main__":
    given, out = jobs.given()
    rank, result = main(given)
    jobs.finish(out, result, rank)
