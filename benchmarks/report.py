"""The report of a part: its rows as JSON, its tables as Markdown, and how busy the machine was with other programs."""

import dataclasses
import json
import os
import platform
import re
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.workers import Sample
from bnn_hvd.run import provenance

HERE = Path(__file__).resolve().parent
OUT, RESULTS = HERE / "out", HERE / "results"


@dataclasses.dataclass
class Row:
    """One timed case: medians over its repetitions, or minima. The notes of each part say what a "step" is."""

    network: str
    kind: str
    library: str
    threads: int
    ranks: int
    batch_size: int | None
    step_ms: float
    step_ms_min: float
    cpu_ms: float | None = None  # process time per step; far below step_ms if the machine was busy
    repetitions: int = 1
    more: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, samples: Sequence[Sample], **named: Any) -> "Row":
        wall = [sample.wall_ms for sample in samples]
        cpu = [sample.cpu_ms for sample in samples if sample.cpu_ms is not None]
        return cls(
            step_ms=statistics.median(wall), step_ms_min=min(wall), cpu_ms=statistics.median(cpu) if cpu else None,
            repetitions=len(samples), **named,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return values | values.pop("more")


@dataclasses.dataclass(frozen=True)
class Bar:
    """A measured ratio, and its limit if it has one; `best` is the ratio of the minima."""

    name: str
    value: float
    best: float
    cpu: float | None = None  # the ratio of the processor times, which a busy machine changes least
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


@dataclasses.dataclass
class Report:
    """The result of a part."""

    part: str
    title: str
    rows: list[Row] | list[dict[str, Any]]
    bars: list[Bar]
    tables: list[str] = dataclasses.field(default_factory=list)  # Markdown after the bars
    notes: str = ""


def find(rows: Iterable[Row], **wanted: Any) -> Row | None:
    """Return the first row with these fields, None if there is none."""
    return next((row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())), None)


def ratio(name: str, above: Row, below: Row, **limit: float | None) -> Bar:
    cpu = above.cpu_ms / below.cpu_ms if above.cpu_ms and below.cpu_ms else None
    return Bar(name, above.step_ms / below.step_ms, above.step_ms_min / below.step_ms_min, cpu, **limit)


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; floats have three significant digits."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table_of_bars(bars: Iterable[Bar]) -> str:
    def limit(bar: Bar) -> str:
        bounds = {"at most": bar.at_most, "at least": bar.at_least}
        return ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    def met(bar: Bar) -> str:
        return ("yes" if bar.met else "**no**") if limit(bar) else ""

    header = ("bar", "limit", "ratio of medians", "of minima", "of cpu times", "met")
    return table(header, ((b.name, limit(b), b.value, b.best, b.cpu, met(b)) for b in bars))


class Quietness:
    """Measures how much processor time other programs use, from its construction to `text()`."""

    def __init__(self) -> None:
        self.start, self.load = time.time(), os.getloadavg()[0]
        self.busy_s, self.stolen_s = _machine_seconds()
        self.own_s = _own_seconds()

    def text(self) -> str:
        seconds = time.time() - self.start
        busy_s, stolen_s = _machine_seconds()
        others_s = max(0.0, busy_s - self.busy_s - (_own_seconds() - self.own_s))
        others, stolen = others_s / seconds, (stolen_s - self.stolen_s) / seconds
        return (
            f"{seconds:.0f} s; load average {self.load:.2f} before, {os.getloadavg()[0]:.2f} after; other processes "
            f"used {others:.2f} of {os.cpu_count()} cores, the hypervisor took {stolen:.2f}"
        )


def _machine_seconds() -> tuple[float, float]:
    """Return the seconds that all cores were busy, and those that the hypervisor took, since the host started."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, steal / ticks


def _own_seconds() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def markdown(report: Report, quietness: str) -> str:
    """Return the report as Markdown."""
    revision = provenance.git_revision() or "unknown"
    head = [
        f"# {report.title}",
        "\n".join([
            f"- command: `python -m benchmarks {' '.join(sys.argv[1:])}`",
            f"- {time.strftime('%Y-%m-%d %H:%M')}, commit {revision}",
            f"- machine: {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
            f"- quiet? {quietness}",
        ]),
    ]  # fmt: skip
    bars = [table_of_bars(report.bars)] if report.bars else []
    return "\n\n".join([*head, *bars, *report.tables, report.notes.strip()]).strip() + "\n"


def write(report: Report, quietness: str, keep: bool, out: Path = OUT) -> Path:
    """Write <part>.json and <part>.md, with `keep` also the latter to results/; returns the path of the latter."""
    out.mkdir(exist_ok=True, parents=True)
    (out / f"{report.part}.json").write_text(
        json.dumps([row if isinstance(row, dict) else row.to_dict() for row in report.rows], indent=1) + "\n"
    )
    path = out / f"{report.part}.md"
    path.write_text(markdown(report, quietness))
    if keep:
        RESULTS.mkdir(exist_ok=True)
        kept = RESULTS / f"{time.strftime('%Y-%m-%d')}_{machine_name()}_{report.part}.md"
        shutil.copy(path, kept)
        return kept
    return path


def processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def machine_name() -> str:
    """Return BNN_HVD_MACHINE, or a short name of the processor and the number of cores."""
    slug = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    return os.environ.get("BNN_HVD_MACHINE", f"{slug}-{os.cpu_count()}")
