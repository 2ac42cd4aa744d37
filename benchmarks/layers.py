"""The time of a training step of each network and estimator, beside TensorFlow Probability and bayesian-torch."""

import contextlib
from typing import Any

from benchmarks import ours, torch_peer, workload
from benchmarks.report import Bar, Report, Row, find, ratio, table
from benchmarks.workers import Sample, Worker, alternate

OURS, TFP, TORCH = ours.NAME, "tfp", "bayesian-torch"
ROUNDS, TARGET_S = 15, 0.1
# (network, kind, library, other kind, other library): the largest ratio of their times, on one thread.
LIMITS = {
    ("fc", "flipout", OURS, "flipout", TFP): 0.30,
    ("fc", "flipout", OURS, "point", OURS): 5,
    ("fc", "local_reparam", OURS, "point", OURS): 2.5,
    ("fc", "flipout", OURS, "flipout", TORCH): 0.45,
    ("conv", "flipout", OURS, "flipout", TFP): 0.70,
    ("conv", "flipout", OURS, "point", OURS): 1.6,
    ("conv", "reparam", OURS, "point", OURS): 1.05,
    ("conv", "flipout", OURS, "flipout", TORCH): 0.20,
    ("vgg3", "flipout", OURS, "point", OURS): 2.1,
}
NAMES = {"fc": "FC 784-64-10", "conv": "conv 5x5x64", "vgg3": "CIFAR10_BNN_model"}
NOTES = """
A step gathers a batch of 64 from the whole data set (uint8) in memory, standardises it, computes the loss and its
gradient, and updates by Adam. TensorFlow's libraries run a loop in the graph, PyTorch is eager. All have the same
batches.

Each library has its own process; every round runs one repetition of each case, one after the other.
With one thread, the process is pinned to one core.

In FC and conv all layers except the output are Bayesian, in CIFAR10_BNN_model all layers are. The peers are written as
their users write them: ReLU is before max-pool (this project pools first, which gives the same result), the biases of
bayesian-torch are Bayesian, those of TFP are not.

cpu is the process time per step. If it is well below the wall time, another program had the core.
"""


def run(quick: bool) -> Report:
    """Measure with one thread and with two."""
    spec: dict[str, Any] = {"networks": list(NAMES), "target_s": TARGET_S}
    threads, rounds = (1, 2), ROUNDS
    if quick:
        spec, threads, rounds = {"networks": ["fc"], "target_s": 0.02}, (1,), 3
    torch_python = torch_peer.environment(create=not quick)
    rows = [row for number in threads for row in measure(spec, number, rounds, torch_python)]
    bars = [bar for number in threads for bar in ratios(rows, number)]
    header = (
        "network", "kind", "library", "threads", "median ms", "min ms", "cpu ms", "/ point", "/ TFP", "/ bayesian-torch"
    )  # fmt: skip
    notes = NOTES if torch_python else NOTES + "\nNo bayesian-torch: `python -m benchmarks torch-env` installs it.\n"
    return Report("layers", "Training step", rows, bars, [table(header, (line(row, rows) for row in rows))], notes)


def measure(spec: dict[str, Any], threads: int, rounds: int, torch_python: Any) -> list[Row]:
    """Return the rows of all libraries, sorted by network and kind."""
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(OURS, "benchmarks.ours", spec, threads)),
            stack.enter_context(Worker(TFP, "benchmarks.tfp_peer", spec, threads)),
        ]
        if torch_python:
            workers.append(stack.enter_context(Worker(TORCH, "benchmarks.torch_peer", spec, threads, torch_python)))
        rows = rows_of(alternate(workers, rounds))
    kinds = ("point", "reparam", "flipout", "local_reparam")
    return sorted(rows, key=lambda row: (list(NAMES).index(row.network), kinds.index(row.kind)))


def rows_of(samples: dict[tuple[Worker, int], list[Sample]]) -> list[Row]:
    """Return a row for each case of each worker."""
    rows = []
    for (worker, case), measured in samples.items():
        network, kind = worker.cases[case]
        rows.append(Row.of(
            measured, network=network, kind=kind, library=worker.library, threads=worker.threads, ranks=1,
            batch_size=workload.BATCH_SIZE,
        ))  # fmt: skip
    return rows


def ratios(rows: list[Row], threads: int) -> list[Bar]:
    """Return the bars of the networks and libraries that were measured; their limits are for one thread."""
    bars = []
    for (network, kind, library, other_kind, other_library), limit in LIMITS.items():
        above = find(rows, network=network, kind=kind, library=library, threads=threads)
        below = find(rows, network=network, kind=other_kind, library=other_library, threads=threads)
        if above and below:
            other = f"{other_library} {other_kind}" if other_library != library else other_kind
            name = f"{NAMES[network]}, {threads} thread{'s' * (threads > 1)}: {kind} / {other}"
            bars.append(ratio(name, above, below, at_most=limit if threads == 1 else None))
    return bars


def line(row: Row, rows: list[Row]) -> list[Any]:
    """Return a line of the table, with the ratios to `point` of the same library, and to the peers of the same kind."""

    def against(kind: str, library: str) -> float | None:
        other = find(rows, network=row.network, kind=kind, library=library, threads=row.threads)
        return row.step_ms / other.step_ms if other else None

    peers = [against(row.kind, library) if row.library == OURS else None for library in (TFP, TORCH)]
    return [
        NAMES[row.network], row.kind, row.library, row.threads, row.step_ms, row.step_ms_min, row.cpu_ms,
        against("point", row.library), *peers,
    ]  # fmt: skip
