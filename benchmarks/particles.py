"""Particles of one rank side by side, and on two ranks: an ensemble of the dense network on the sine."""

from typing import Any

from benchmarks import jobs, ours, workload
from benchmarks.report import Bar, Report, Row, find, ratio, table
from benchmarks.workers import Case, Sample

COUNTS = (1, 2, 4, 8)
SMALL, LARGE = 32, 2048  # hidden units
STEPS = {SMALL: 300, LARGE: 2}  # of a repetition
MOST_TIMES, LEAST_GAIN = 2.5, 1.8
NOTES = """
A step: `--method=ensemble --network=mlp --dataset=sine` (input, two blocks of two dense layers, output), batch 64, the
real loop; ranks of one thread. Particles of one rank are computed together: their products of matrices are batched, and
their optimizer is one. On two ranks each has half of the particles, and they never communicate.
"""


def run(quick: bool) -> Report:
    """Alternate jobs of one rank and of two."""
    spec, rounds = {"rounds": 8}, 3
    if quick:
        spec, rounds = {"rounds": 1}, 1
    samples: dict[tuple[int, int, int], list[Sample]] = {}
    for _ in range(rounds):
        for ranks in (1, 2):
            for hidden, count, wall_ms, cpu_ms in jobs.run("benchmarks.particles", {**spec, "ranks": ranks}, ranks):
                samples.setdefault((hidden, count, ranks), []).append(Sample(wall_ms, cpu_ms))
    rows = [
        Row.of(
            measured, network=f"mlp {hidden}", kind=f"{count} particles", library=ours.NAME, threads=1, ranks=ranks,
            batch_size=workload.BATCH_SIZE,
        )
        for (hidden, count, ranks), measured in samples.items()
    ]  # fmt: skip
    eight, one = (find(rows, network=f"mlp {SMALL}", kind=f"{count} particles", ranks=1) for count in (8, 1))
    alone, both = (find(rows, network=f"mlp {LARGE}", kind="8 particles", ranks=ranks) for ranks in (1, 2))
    assert eight
    assert one
    assert alone
    assert both
    bars: list[Bar] = [
        ratio(f"mlp {SMALL}: 8 particles / 1", eight, one, at_most=MOST_TIMES),
        ratio(f"mlp {LARGE}, 8 particles: 1 rank / 2 ranks", alone, both, at_least=LEAST_GAIN),
    ]
    header = ("network", "particles", "ranks", "median ms", "min ms")
    lines = [[r.network, r.kind.split()[0], r.ranks, r.step_ms, r.step_ms_min] for r in rows]
    return Report("particles", "Particles side by side", rows, bars, [table(header, lines)], NOTES)


def ensemble(hidden: int, members: range) -> Case:
    """Return the loop of `train` over some members of an ensemble."""
    import numpy as np

    from bnn_hvd import seeds, targets
    from bnn_hvd.cluster import Solo
    from bnn_hvd.config import TrainConfig, resolve
    from bnn_hvd.data import sources, standardize
    from bnn_hvd.data.pipeline import Examples
    from bnn_hvd.inference import build as inference
    from bnn_hvd.models.network import build
    from bnn_hvd.plan import Plan, Progress
    from bnn_hvd.train import compile_loop

    config = resolve(TrainConfig(network="mlp", method="ensemble", dataset="sine", hidden=hidden, steps=10**6))
    arrays = sources.load("sine", "")
    units = targets.fit_units(arrays.y_train, 0)
    method = inference.build(config, build(config, (1,), 0), len(arrays.x_train), Solo(), members, units)
    state = method.init(seeds.seed(0, "init"))
    examples = Examples(arrays.x_train, units.standardized(arrays.y_train), standardize.fit(arrays.x_train, "channel"))
    loop = compile_loop(method, state, examples, config.batch_size)
    call = Plan(config, len(arrays.x_train), 0, 1).next_call(Progress(), 10)

    def run(steps: int) -> None:
        indices = np.arange(steps) % call.steps
        loop(type(call)(*(part[indices] for part in call)))

    return Case(f"mlp {hidden}", f"{len(members)} particles", run)


def main(spec: dict[str, Any]) -> tuple[int, list[tuple[int, int, float, float]]]:
    """Time this rank's particles; returns the rank, and rows (hidden, particles of all ranks, wall ms, cpu ms)."""
    ours.start_tensorflow(1)
    from bnn_hvd import cluster, particles

    ranks = cluster.connect()
    rows: list[tuple[int, int, float, float]] = []
    for hidden, counts in ((SMALL, COUNTS if ranks.size == 1 else ()), (LARGE, COUNTS[-1:])):
        cases = {
            count: ensemble(hidden, particles.share(range(count), ranks.rank, ranks.size).members) for count in counts
        }
        rows += [(hidden, *row) for row in jobs.time_together(cases, STEPS[hidden], ranks, spec["rounds"])]
    ranks.barrier()
    return ranks.rank, rows


if __name__ == "__main__":
    given, out = jobs.given()
    rank, result = main(given)
    jobs.finish(out, result, rank)
