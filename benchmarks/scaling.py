"""Weak scaling: the time of a step on one rank and on two, each with one thread and its own batch."""

from typing import Any

from benchmarks import jobs, ours, workload
from benchmarks.layers import NAMES
from benchmarks.report import Bar, Report, Row, find, ratio, table
from benchmarks.workers import Sample

STEPS = {"fc": 200, "conv": 25, "vgg3": 3}  # of a repetition
LIMITS = {"conv": 0.92, "vgg3": 0.95}  # time on one rank / time on two, at least
TOGETHER, APART = "flipout", "flipout, no all-reduce"
NOTES = """
A step is one of the loop of `train`, with flipout and a batch of 64 per rank. `horovodrun -np 2` starts ranks of one
thread, which are not bound to cores. Jobs of one rank and of two alternate; in a job, the ranks start each repetition
together.

no all-reduce: two ranks train at once, each on its own. They are slower than one rank because they share memory and
caches, and because of Horovod's idle thread and other programs. The rest of the loss is communication and waiting.
"""


def run(quick: bool) -> Report:
    """Alternate jobs of one rank and of two."""
    spec, rounds = {"networks": ["fc", "conv", "vgg3"], "rounds": 8}, 3
    if quick:
        spec, rounds = {"networks": ["conv"], "rounds": 2}, 1
    samples: dict[tuple[int, str, str], list[Sample]] = {}
    for _ in range(rounds):
        for ranks in (1, 2):
            for network, kind, wall_ms, cpu_ms in jobs.run("benchmarks.scaling", spec, ranks):
                samples.setdefault((ranks, network, kind), []).append(Sample(wall_ms, cpu_ms))
    rows = [
        Row.of(
            measured, network=network, kind=kind, library=ours.NAME, threads=1, ranks=ranks,
            batch_size=workload.BATCH_SIZE,
        )
        for (ranks, network, kind), measured in samples.items()
    ]  # fmt: skip
    bars = [efficiency(rows, network, limit) for network, limit in LIMITS.items() if network in spec["networks"]]
    header = ("network", "ranks", "kind", "median ms", "min ms", "cpu ms of rank 0", "efficiency")
    lines = [
        [NAMES[r.network], r.ranks, r.kind, r.step_ms, r.step_ms_min, r.cpu_ms,
         efficiency(rows, r.network, 0, r.kind, r.ranks).value]
        for r in sorted(rows, key=lambda r: list(NAMES).index(r.network))
    ]  # fmt: skip
    return Report("scaling", "Weak scaling, one rank to two", rows, bars, [table(header, lines)], NOTES)


def efficiency(rows: list[Row], network: str, limit: float, kind: str = TOGETHER, ranks: int = 2) -> Bar:
    """Return the bar of the time of a step on one rank, divided by that on `ranks`."""
    alone = find(rows, network=network, kind=TOGETHER, ranks=1)
    many = find(rows, network=network, kind=kind, ranks=ranks)
    assert alone
    assert many
    return ratio(f"{NAMES[network]}: efficiency of 2 ranks", alone, many, at_least=limit)


def main(spec: dict[str, Any]) -> tuple[int, list[tuple[str, str, float, float]]]:
    """Time the networks on this rank; returns the rank, and rows (network, kind, wall ms, cpu ms)."""
    ours.start_tensorflow(1)
    from bnn_hvd.distributed import cluster

    ranks = cluster.connect()
    rows: list[tuple[str, str, float, float]] = []
    for network in spec["networks"]:
        kinds = {TOGETHER: ranks} | ({APART: cluster.Solo()} if ranks.size > 1 else {})
        cases = {kind: ours.training(network, "flipout", its_ranks) for kind, its_ranks in kinds.items()}
        rows += [(network, *row) for row in jobs.time_together(cases, STEPS[network], ranks, spec["rounds"])]
    ranks.barrier()
    return ranks.rank, rows


if __name__ == "__main__":
    given, out = jobs.given()
    rank, result = main(given)
    jobs.finish(out, result, rank)
