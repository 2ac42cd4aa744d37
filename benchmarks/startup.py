"""Seconds from the command to the first step, by phase, and to the end of --help."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import jobs, ours, workload
from benchmarks.report import Bar, Report, Row, table
from benchmarks.watched import Event, Watch
from benchmarks.workers import REPOSITORY, Sample, environment

HELPS = {"--help": ["--help"], "train --help": ["train", "--help"]}
GROUPS = (
    "start Python", "start the ranks and Python", "import", "ranks", "data", "set up", "tracing", "compile, first step",
    "other",
)  # fmt: skip
GROUP_OF = {
    "import the command line": "import", "import TensorFlow and bnn_hvd": "import",
    "join the ranks": "ranks", "restore, broadcast": "ranks",
    "data: read": "data", "data: standardisation": "data", "data: to TensorFlow": "data",
    "start TensorFlow": "set up", "network": "set up", "run directory": "set up",
    "trace": "tracing",
}  # fmt: skip
LIMIT_S = 1.0
NOTES = """
BNN_conv_flip on MNIST, one thread per rank.

start: the interpreter starts, and this benchmark imports its own modules (about 0.1 s). ranks: Horovod is imported and
started, the state is broadcast. set up: TensorFlow's runtime and XLA start, the network and the run directory are made.
tracing: the Python code of a step becomes a graph. compile: TensorFlow optimises the graph, XLA compiles its parts, and
one step runs. other: the time between these phases.
"""


def run(quick: bool) -> Report:
    """Measure --help, one rank and two ranks in turns."""
    rounds, sizes = (1, (1,)) if quick else (5, (1, 2))
    helps: dict[str, list[float]] = {name: [] for name in HELPS}
    starts: dict[int, list[dict[str, float]]] = {ranks: [] for ranks in sizes}
    for _ in range(rounds):
        for name, args in HELPS.items():
            helps[name].append(seconds_of_help(args))
        for ranks in sizes:
            starts[ranks].append(jobs.run("benchmarks.startup", {"command_s": time.time()}, ranks))
    rows = [row(name, 1, seconds) for name, seconds in helps.items()]
    bars = [Bar(f"{name}: s", statistics.median(s), min(s), at_most=LIMIT_S) for name, s in helps.items()]
    tables = [table(("command", "median s", "min s"), ([r.kind, r.step_ms / 1e3, r.step_ms_min / 1e3] for r in rows))]
    lines = []
    for ranks, measured in starts.items():
        phases = [phase for phase in (*GROUPS, "in all") if any(phase in one for one in measured)]
        mine = [row(phase, ranks, [one.get(phase, 0.0) for one in measured]) for phase in phases]
        lines += [[ranks, r.kind, r.step_ms / 1e3, r.step_ms_min / 1e3] for r in mine]
        rows += mine
    tables.append(table(("ranks", "from the command to the first step", "median s", "min s"), lines))
    return Report("startup", "Start", rows, bars, tables, NOTES)


def row(phase: str, ranks: int, seconds: list[float]) -> Row:
    samples = [Sample(1e3 * s) for s in seconds]
    return Row.of(samples, network="conv", kind=phase, library=ours.NAME, threads=1, ranks=ranks, batch_size=None)


def seconds_of_help(args: list[str]) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "bnn_hvd", *args]
    subprocess.run(command, cwd=REPOSITORY, env=environment(1), capture_output=True, check=True)
    return time.perf_counter() - start


def main(spec: dict[str, Any], started_s: float, scratch: Path) -> tuple[int, dict[str, float]]:
    """Train one step; returns the rank, and the seconds of each group of phases. All ranks share `scratch`."""
    from bnn_hvd.distributed import launcher

    watch, rank, size = Watch(), launcher.world_rank(), launcher.world_size() or 1
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            **ours.flags("conv", "flipout"), "dataset": "mnist", "data_dir": workload.mnist_file(Path(folder)),
            "steps": 1, "threads": 1, "run": scratch / "run", "eval_draws": 1,
        }  # fmt: skip
        assert watch.train([f"--{name}={value}" for name, value in flags.items()]) == 0
    return rank, grouped(watch.events, spec["command_s"], started_s, size)


def grouped(events: list[Event], command_s: float, started_s: float, size: int) -> dict[str, float]:
    """Return the seconds of each group of phases, up to the end of the first call."""
    first = next(event for event in events if event.phase == "call")
    found = {GROUPS[0] if size == 1 else GROUPS[1]: started_s - command_s}
    for event in events:
        if event.phase in GROUP_OF and event.end_s <= first.end_s:
            found[GROUP_OF[event.phase]] = found.get(GROUP_OF[event.phase], 0.0) + event.seconds
    found["compile, first step"] = first.seconds - found["tracing"]
    in_all = first.end_s - command_s
    return found | {"other": in_all - sum(found.values()), "in all": in_all}


if __name__ == "__main__":
    started = time.time()
    given, out = jobs.given()
    rank, result = main(given, started, out.parent)
    jobs.finish(out, result, rank)
