"""Steps of training on two and four hosts whose links have known rates, beside the prediction of `scale`."""

import functools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import OUT, Bar, Report, table
from benchmarks.workers import REPOSITORY
from bnn_hvd.config import ScaleConfig, make
from bnn_hvd.plots import style
from bnn_hvd.run import records
from bnn_hvd.studies.scaling import collect, predict, simulate
from bnn_hvd.studies.scaling.model import Link

HOSTS = (1, 2, 4)
FRAME, PAYLOAD = 1514, 1448  # bytes of an Ethernet frame, as `tc` counts it, and of TCP's data in it
WITHIN = 0.15
BATCH = 4  # small, so that the network takes most of a step
SHAPES = {"mnist": (28, 28, 1), "cifar": (32, 32, 3)}
PING = "benchmarks/ping.py"


class Workload(NamedTuple):
    """What a job trains, and the rate of the links, in Mbit/s."""

    name: str
    flags: tuple[str, ...]
    data: str
    rate: int
    steps: int = 31
    steps_per_call: int = 5
    straggling: bool = False  # its ranks sleep, each for a time of its own


def model(name: str, rate: int, data: str = "mnist", steps: int = 31) -> Workload:
    return Workload(name, (f"--model={name}",), data, rate, steps)


STRAGGLING = REPOSITORY / "benchmarks" / "straggling.py:straggling"
RESNET18 = ("--architecture=resnet18", "--normalization=frn")
WORKLOADS = (
    model("CNN_FC", 20),
    model("BNN_FC_nonflip", 20),
    model("BNN_FC_flip", 20),
    Workload("ivon", ("--architecture=fc", "--method=ivon"), "mnist", 20),
    model("CNN_conv", 20),
    model("BNN_conv_nonflip", 20),
    model("BNN_conv_flip", 20),
    model("CIFAR10_BNN_model", 200, "cifar", 16),
    Workload("resnet18", (*RESNET18, "--method=point"), "cifar", 500, 8),
    Workload("resnet18, vi", (*RESNET18, "--method=vi", "--estimator=reparam"), "cifar", 500, 8),
    Workload("stragglers", (f"--architecture={STRAGGLING}", "--method=point"), "mnist", 50, 201, 1, straggling=True),
)
NOTES = f"""
Each host is a network namespace of this machine; a token bucket of `tc` limits what it sends to the rate. All share
its cores: four ranks on two cores compute half as fast, which the prediction is told. Batch {BATCH}, one thread per
rank, so that the network takes most of a step. Steps are those of `train`; the first does not count. Measured: the
median of calls of five steps.

Predicted from one host: its computation, and the all-reduce by the rate ({PAYLOAD} of {FRAME} bytes on the wire are
data) and by the latency of plain TCP, which was measured here. From two hosts: with the rest that the model does not
explain on two.

stragglers: in each step a rank sleeps 10 ms, and a random time of 20 ms on average. Predicted by `scale --simulate`, by
drawing from the times of one host; all ranks wait for the slowest. Measured: the mean.
"""


class Cell(NamedTuple):
    """A workload on some hosts."""

    name: str
    megabytes: float
    rate: int
    hosts: int
    compute_ms: float  # predicted, with the cores shared
    predicted_ms: float
    from_two_ms: float | None  # predicted for four hosts from two
    measured_ms: float
    fastest_ms: float


def run(quick: bool) -> Report:
    """Train every workload on one host, two and four, and compare.

    Raises:
      RuntimeError: there can be no network namespaces here.
    """
    sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "hosts")]
    import testbed

    if reason := testbed.why_not():
        raise RuntimeError(reason)
    workloads = [each for each in WORKLOADS if each.name in ("ivon", "stragglers")] if quick else list(WORKLOADS)
    with tempfile.TemporaryDirectory() as scratch, testbed.connected(max(HOSTS), networks=1) as bed:
        for name, shape in SHAPES.items():
            write_data(Path(scratch, f"{name}.npz"), shape)
        alpha_s = latency_s(bed)
        for hosts in HOSTS:
            for rate in sorted({each.rate for each in workloads}):
                train(bed, [each for each in workloads if each.rate == rate], hosts, rate, Path(scratch))
        cells = [cell for each in workloads for cell in compare(bed.folder, each, alpha_s)]
    return report(cells, alpha_s)


def write_data(path: Path, shape: tuple[int, ...]) -> None:
    """Write random images."""
    random = np.random.default_rng(0)
    parts = {"train": 512, "test": 16}
    arrays = {f"x_{part}": random.integers(0, 256, (size, *shape), np.uint8) for part, size in parts.items()}
    np.savez(path, **arrays, **{f"y_{part}": np.arange(size) % 10 for part, size in parts.items()})


def latency_s(bed: Any) -> float:
    """Return the seconds of a small message between two hosts, by plain TCP."""
    server, client = bed.hosts[:2]
    words = [sys.executable, REPOSITORY / PING, server.addresses[0]]
    listening = subprocess.Popen([*server.prefix(), *words, "listen"])
    found = subprocess.run([*client.prefix(), *words], check=True, capture_output=True, text=True, timeout=60)
    listening.wait(timeout=60)
    return float(found.stdout)


def train(bed: Any, workloads: list[Workload], count: int, rate: int, scratch: Path) -> None:
    """Train the workloads one after the other, in one job of a rank on each of `count` hosts."""
    import running

    hosts, folder = bed.hosts[:count], bed.folder / f"job_{count}_{rate}"
    for host in hosts if count > 1 else ():
        # The bucket holds what passes in 1.3 ms: a late timer loses nothing, and hardly anything passes at once.
        host.limit("tbf", "rate", f"{rate}mbit", "burst", f"{max(8, rate // 6)}kb", "latency", "4s")
    commands = [
        [
            "train", *each.flags, "--dataset=npz", f"--data_dir={scratch}/{each.data}.npz", f"--batch_size={BATCH}",
            f"--steps={each.steps}",
            f"--steps_per_call={each.steps_per_call}", "--threads=1", "--eval_every_epochs=0", "--eval_draws=1",
            f"--run={run_of(bed.folder, each, count)}",
        ] for each in workloads
    ]  # fmt: skip
    job = bed.start(*running.several_args(folder, *commands), hosts=hosts, log=folder.with_suffix(".log"))
    code = bed.end(job, 600)
    for host in hosts if count > 1 else ():
        host.limit()
    if code or any(rank.code for command in running.outcomes(folder, len(commands), count) for rank in command):
        raise RuntimeError(
            folder.with_suffix(".log").read_text() + "".join(p.read_text() for p in folder.glob("*.err"))
        )


def run_of(folder: Path, workload: Workload, hosts: int) -> Path:
    return folder / f"{workload.name.replace(', ', '_')}_{hosts}"


def compare(folder: Path, workload: Workload, alpha_s: float) -> Iterator[Cell]:
    """Yield the cells of a workload."""
    link = Link(alpha_s, 8e-6 / workload.rate * FRAME / PAYLOAD, "")
    found = {count: run_of(folder, workload, count) for count in HOSTS}
    rows = collect.rows(collect.read_all(list(found.values())))
    from_one = {each.ranks: each for each in predict.predict(rows[:1], "weak", link)}
    from_two = {each.ranks: each for each in predict.predict(rows[:2], "weak", link)}
    if workload.straggling:
        yield from slowest(workload, found, rows, link)
        return
    for count in HOSTS[1:]:
        shared = max(1.0, count / (os.cpu_count() or 1))
        steps = call_ms(found[count])
        compute_ms = shared * from_one[count].compute_ms
        yield Cell(
            workload.name, 1e-6 * rows[0].reduced_bytes_per_step, workload.rate, count, compute_ms,
            compute_ms + from_one[count].communication_ms,
            shared * from_two[count].compute_ms + from_two[count].communication_ms if count > 2 else None,
            statistics.median(steps), min(steps),
        )  # fmt: skip


def slowest(workload: Workload, found: dict[int, Path], rows: list[collect.Row], link: Link) -> Iterator[Cell]:
    """Yield the cells of ranks that sleep, which share no cores, as `scale --simulate` has them."""
    alone = collect.read_all([found[1]])
    config = make(ScaleConfig, run="unused", mode="weak", simulate=True, checkpoint_s=1.0, node_mtbf_h=1e9)
    simulated = {one.ranks: one for one in simulate.simulate(rows[:1], alone, "weak", link, config)}
    for row in rows[1:]:
        one = simulated[row.ranks]
        yield Cell(
            workload.name, 1e-6 * row.reduced_bytes_per_step, workload.rate, row.ranks, one.compute_ms + one.waiting_ms,
            one.step_ms, None, row.step_ms, row.step_ms_min,
        )  # fmt: skip


def call_ms(run: Path) -> list[float]:
    """Return the milliseconds of a step, by call."""
    rows = records.read_jsonl(run / records.TIMINGS)
    return [1e3 * row["seconds"] / row["steps"] for row in rows if row["phase"] == "train"]


def report(cells: list[Cell], alpha_s: float) -> Report:
    bars = [bar for cell in cells for bar in bars_of(cell)]
    header = (
        "case", "MB", "Mbit/s", "hosts", "predicted: computation ms", "predicted ms", "predicted from two ms",
        "measured ms", "fastest ms", "measured / predicted",
    )  # fmt: skip
    lines = [
        [f"{c.name}, {c.hosts} hosts", c.megabytes, c.rate, c.hosts, c.compute_ms, c.predicted_ms, c.from_two_ms,
         c.measured_ms, c.fastest_ms, c.measured_ms / c.predicted_ms]
        for c in cells
    ]  # fmt: skip
    OUT.mkdir(exist_ok=True)
    style.draw(functools.partial(figure, cells), OUT / "network.png")
    notes = f"{NOTES}\nLatency: {1e6 * alpha_s:.0f} µs. Figure: {(OUT / 'network.png').relative_to(REPOSITORY)}"
    rows = [cell._asdict() for cell in cells]
    return Report(
        "network", "Steps over slow networks, measured and predicted", rows, bars, [table(header, lines)], notes
    )


def bars_of(cell: Cell) -> Iterator[Bar]:
    ratio, best = cell.measured_ms / cell.predicted_ms, cell.fastest_ms / cell.predicted_ms
    name = f"{cell.name}, {cell.hosts} hosts: measured / predicted"
    yield Bar(name, ratio, best, at_least=1 - WITHIN, at_most=1 + WITHIN)


def figure(cells: list[Cell]) -> Any:
    """Draw the measured over the predicted time of a step."""
    drawn = style.figure("Steps over slow networks", Path("scale"), 6.4, 5.6)
    axes = drawn.add_subplot()
    low, high = (pick(each for c in cells for each in (c.measured_ms, c.predicted_ms)) for pick in (min, max))
    ends = np.array([0.8 * low, 1.25 * high])
    axes.fill_between(ends, (1 - WITHIN) * ends, (1 + WITHIN) * ends, color=style.GREY, alpha=0.25, label="within 15 %")
    axes.plot(ends, ends, color=style.GREY, linestyle=":")
    for hosts, colour, marker in ((2, style.BLUE, "o"), (4, style.ORANGE, "s")):
        mine = [cell for cell in cells if cell.hosts == hosts]
        axes.plot(
            [c.predicted_ms for c in mine], [c.measured_ms for c in mine], marker, color=colour, label=f"{hosts} hosts"
        )
    axes.set(
        xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="predicted from one host (ms)", ylabel="measured (ms)"
    )
    axes.set_title("a step of eleven trainings, links of 20 to 500 Mbit/s", loc="left")
    axes.legend(loc="upper left")
    return drawn
