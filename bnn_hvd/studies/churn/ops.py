"""`churn --ops`: which operations of a training step give the same bits each time, and how much determinism costs."""

import os
import tempfile
from pathlib import Path
from typing import Any

from bnn_hvd.config import ChurnConfig
from bnn_hvd.errors import TrainingError
from bnn_hvd.run import records
from bnn_hvd.studies import launch, text_table

REPEATS = 20
RANKS = (2, 4)
HEADS = ("operation", "threads", "equal", "ulps", "as one thread", "ms", "deterministic ms", "ratio")
Row = dict[str, Any]


def main(config: ChurnConfig) -> int:
    """Probe each operation on one thread and on several, print a table, and with --run write ops.json."""
    more = config.train["threads"] or max(2, os.cpu_count() or 2)
    with tempfile.TemporaryDirectory() as folder:
        found = {
            (threads, mode): probe(Path(folder), 1, threads, mode) for threads in (1, more) for mode in ("off", "on")
        }
        rows = [row for threads in (1, more) for row in of_threads(threads, found)]
        for ranks in RANKS:
            for name, measured in probe(Path(folder), ranks, 1, "off").items():
                rows.append(row_of(name, 1, measured, None, ""))
    print(table(rows))
    if config.run:
        records.make_study_directory(Path(config.run))
        records.write_json(Path(config.run, records.OPS), rows)
    return 0


def probe(folder: Path, ranks: int, threads: int, mode: str) -> dict[str, Row]:
    """Start the program `probe` on one or more ranks; returns its measurements by operation.

    mode: of determinism, on or off.

    Raises:
      TrainingError: the program failed; it quotes the last line of its output.
    """
    path, log = folder / f"{ranks}_{threads}_{mode}.json", folder / "log"
    before = launch.launcher(ranks, threads, 0, {})
    words = [str(launch.PYTHON), "-m", "bnn_hvd.studies.churn.probe", str(threads), mode, str(REPEATS), str(path)]
    launch.run([*before, *words], log)
    if not path.exists():
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise TrainingError(f"the probe on {ranks} ranks with {threads} threads failed: {last}")
    return records.read_json(path)


def of_threads(threads: int, found: dict[tuple[int, str], dict[str, Row]]) -> list[Row]:
    """Return the rows for one number of threads."""
    usual, deterministic, alone = found[threads, "off"], found[threads, "on"], found[1, "off"]
    return [row_of(name, threads, usual[name], deterministic[name], alone[name].get("digest", "")) for name in usual]


def row_of(name: str, threads: int, usual: Row, deterministic: Row | None, alone: str) -> Row:
    """Return one row.

    deterministic: the measurements with determinism; None if there are none, and so are their columns.
    alone: the digest of the result on one thread; "" if there is none.
    """
    ms = None if deterministic is None else deterministic.get("ms")
    return {
        "operation": name, "threads": threads, "equal": usual.get("equal"), "ulps": usual.get("ulps"),
        "as one thread": usual.get("digest") == alone if alone else None, "ms": usual.get("ms"),
        "deterministic ms": ms, "ratio": ms / usual["ms"] if ms and usual.get("ms") else None,
        "deterministic equal": None if deterministic is None else deterministic.get("equal"),
        "deterministic mode": "none" if deterministic is None or "refused" in deterministic else "yes",
    }  # fmt: skip


def table(rows: list[Row]) -> str:
    return text_table.aligned(HEADS, [[_shown(row[head]) for head in HEADS] for row in rows])


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
