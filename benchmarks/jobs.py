"""Jobs of one or more ranks: each rank runs a module of this package in a new process, and rank 0 returns a result."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.workers import REPOSITORY, Case, environment, time_steps

TIMEOUT_S = 600


def run(
    module: str, spec: dict[str, Any], ranks: int = 1, launcher_flags: tuple[str, ...] = (), **variables: str
) -> Any:
    """Run `python -m MODULE SPEC OUT`, on several ranks by horovodrun; returns the result that rank 0 wrote to OUT."""
    horovodrun = [sys.executable, str(Path(sys.executable).parent / "horovodrun"), "-np", str(ranks), *launcher_flags]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        command = [*(horovodrun if ranks > 1 else []), sys.executable, "-m", module, json.dumps(spec), str(out)]
        kept = {name: value for name, value in environment(1).items() if not name.startswith(("OMPI_", "PMI"))}
        job = subprocess.run(
            command, cwd=REPOSITORY, env=kept | variables, timeout=TIMEOUT_S, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if job.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with code {job.returncode}:\n{job.stdout[-3000:]}")
        return json.loads(out.read_text())


def time_together(cases: dict[Any, Case], steps: int, ranks: Any, rounds: int) -> list[tuple[Any, float, float]]:
    """Time the cases in turns after a warm-up; returns rows (name, wall ms, cpu ms). Ranks start each case together."""
    for case in cases.values():
        case.run(1)
        case.run(steps)
    rows = []
    for _ in range(rounds):
        for name, case in cases.items():
            ranks.barrier()
            rows.append((name, *time_steps(case, steps)))
    return rows


def given() -> tuple[dict[str, Any], Path]:
    """Return the SPEC and OUT of this process."""
    return json.loads(sys.argv[1]), Path(sys.argv[2])


def finish(out: Path, result: Any, rank: int = 0) -> None:
    """Let rank 0 write the result."""
    if rank == 0:
        temporary = out.with_suffix(".tmp")
        temporary.write_text(json.dumps(result))
        os.replace(temporary, out)
