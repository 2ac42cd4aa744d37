"""The time of a training run of MNIST by the verb `train`, after its first call, beside that of its steps alone."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import jobs, ours, workload
from benchmarks.layers import NAMES
from benchmarks.report import Bar, Report, Row, table
from benchmarks.watched import Watch
from benchmarks.workers import Sample, time_steps

EPOCHS = {"fc": 4, "conv": 1}
STEPS = {"fc": 100, "conv": 25}  # of a repetition of the step alone
REPETITIONS = 20
LIMIT = 1.08
CALLS, LOOP, ALL = "calls of the loop", "and the host's work between them", "and evaluations, checkpoints"
NOTES = """
The command is `python -m bnn_hvd train` on MNIST, with flipout, batch 64, one rank of one thread, and the defaults of
all other flags (an evaluation of 10 draws per epoch, a checkpoint per 1000 steps). The times are per step, after the
first call. "calls of the loop" is the time in the compiled loop. The next row adds the time between the calls (indices,
seeds, log, TensorBoard), without evaluations and checkpoints. The last row adds these, to the end of `fit`.

step alone: the same loop as in the part `layers`, timed in the same process right after the run, not pinned to a core.
"""


def run(quick: bool) -> Report:
    """Measure the networks in turns."""
    epochs, rounds = ({"fc": 1}, 1) if quick else (EPOCHS, 3)
    runs: dict[str, list[dict[str, Any]]] = {network: [] for network in epochs}
    for _ in range(rounds):
        for network in epochs:
            runs[network].append(jobs.run("benchmarks.training", {"network": network, "epochs": epochs[network]}))
    return summarise(runs)


def summarise(runs: dict[str, list[dict[str, Any]]]) -> Report:
    """Return the report on the measurements of `main` in the runs of each network."""
    rows, bars, lines = [], [], []
    for network, measured in runs.items():
        alone = row(network, "step alone", [Sample(*one) for run in measured for one in run["alone"]])
        rows.append(alone)
        for what in (CALLS, LOOP, ALL):
            # Each run is compared with the steps that were timed right after it.
            ratios = [run[what] / statistics.median(wall for wall, _ in run["alone"]) for run in measured]
            rows.append(row(network, what, [Sample(run[what]) for run in measured]))
            rows[-1].more = {"ratio": statistics.median(ratios), "ratio_min": min(ratios)}
            lines.append([NAMES[network], what, rows[-1].step_ms, alone.step_ms, *rows[-1].more.values()])
            if what == LOOP:
                name = f"MNIST, {NAMES[network]}: wall / (steps x step time)"
                bars.append(Bar(name, *rows[-1].more.values(), at_most=LIMIT))
    header = ("network", "per step of the run", "median ms", "step alone ms", "median ratio", "min ratio")
    return Report("training", "A training run against its steps", rows, bars, [table(header, lines)], NOTES)


def row(network: str, what: str, samples: list[Sample]) -> Row:
    return Row.of(
        samples, network=network, kind=f"flipout, {what}", library=ours.NAME, threads=1, ranks=1,
        batch_size=workload.BATCH_SIZE,
    )  # fmt: skip


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """Train, then time the step alone; returns milliseconds per step of each."""
    from bnn_hvd.run import records

    watch, network = Watch(), spec["network"]
    with tempfile.TemporaryDirectory() as folder:
        run_directory = Path(folder, "run")
        flags = {
            **ours.flags(network, "flipout"), "dataset": "mnist", "data_dir": workload.mnist_file(Path(folder)),
            "epochs": spec["epochs"], "threads": 1, "run": run_directory,
        }  # fmt: skip
        assert watch.train([f"--{name}={value}" for name, value in flags.items()]) == 0
        timings = records.read_jsonl(run_directory / records.TIMINGS)
    calls = [event for event in watch.events if event.phase == "call"][1:]
    fit = next(event for event in watch.events if event.phase == "fit")
    steps = sum(timing["steps"] for timing in timings if timing["phase"] == "train")
    extras = [timing["seconds"] for timing in timings if timing["phase"] in ("eval", "checkpoint")]
    start = calls[0].start_s
    all_s = fit.end_s - start
    case = ours.training(network, "flipout")
    case.run(1)
    case.run(STEPS[network])
    return {
        CALLS: 1e3 * sum(call.seconds for call in calls) / steps,
        LOOP: 1e3 * (all_s - sum(extras)) / steps,
        ALL: 1e3 * all_s / steps,
        "alone": [time_steps(case, STEPS[network]) for _ in range(REPETITIONS)],
    }


if __name__ == "__main__":
    given, out = jobs.given()
    jobs.finish(out, main(given))
