"""The benchmarks run, and write the rows and the tables that they should; speed is not tested here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.report import Bar, Row
from benchmarks.workers import Sample

REPOSITORY = Path(__file__).resolve().parents[2]
NUMBERS = {"step_ms", "step_ms_min"}
PROMISED = {"network", "kind", "library", "threads", "ranks", "batch_size", *NUMBERS}


def test_the_command_writes_rows_and_a_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "startup", "--quick", f"--out={tmp_path}"]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=300)
    rows = json.loads((tmp_path / "startup.json").read_text())
    assert {"--help", "import", "data", "tracing", "in all"} <= {row["kind"] for row in rows}
    for row in rows:
        assert row.keys() >= PROMISED
        assert all(row[name] >= 0 for name in NUMBERS), row
    assert "| --help: s | at most 1 |" in (tmp_path / "startup.md").read_text()


def test_a_row_is_the_median_and_the_minimum() -> None:
    samples = [Sample(3.0, 2.0), Sample(1.0, 1.0), Sample(8.0, 9.0)]
    row = Row.of(samples, network="fc", kind="point", library="x", threads=1, ranks=1, batch_size=64)
    assert (row.step_ms, row.step_ms_min, row.cpu_ms, row.repetitions) == (3.0, 1.0, 2.0, 3)


def test_bars_are_met_from_the_right_side() -> None:
    assert [Bar("", value, value, at_most=1.0).met for value in (0.9, 1.0, 1.1)] == [True, True, False]
    assert [Bar("", value, value, at_least=1.0).met for value in (0.9, 1.0, 1.1)] == [False, True, True]


def test_the_fit_finds_latency_and_bandwidth() -> None:
    from benchmarks import allreduce

    sizes = [4, 1 << 10, 1 << 20, 1 << 24]
    latency_ms, gb_per_s = allreduce.fit(sizes, [0.25 + size / 2e6 for size in sizes])  # 2 GB/s
    assert (latency_ms, gb_per_s) == pytest.approx((0.25, 2))


def test_a_table_is_markdown() -> None:
    assert report.table(("a", "b"), [[1.23456, None], [12345.6, "x"]]) == (
        "| a | b |\n| --- | --- |\n| 1.23 |  |\n| 12346 | x |"
    )
