"""Processes (workers) that time the cases of one library, one repetition at a time, so that libraries can alternate.

Each library needs its own number of threads, its own environment variables, perhaps its own Python. So each has a
worker: `python -m benchmarks.workers MODULE SPEC` imports MODULE, makes its `cases(spec)` and then waits on stdin. The
parent process asks one worker at a time for one repetition, while all others sleep.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_STEPS = 400  # of a repetition


class Case(NamedTuple):
    """Something to time: `run(steps)` makes that many steps."""

    network: str
    kind: str
    run: Callable[[int], None]
    steps: int | None = None  # of a repetition; None: as many as take the target time


class Sample(NamedTuple):
    """Milliseconds per step in one repetition: of the wall clock, and of the process on all its cores."""

    wall_ms: float
    cpu_ms: float | None = None


class Worker:
    """A process that holds the cases of one library. Its output is shown if it fails.

    tree: the checkout of this project whose code it runs.

    Attributes:
      cases: (network, kind) of each case, ready to run.
    """

    def __init__(
        self, library: str, module: str, spec: dict[str, Any], threads: int, python: str | Path = sys.executable,
        tree: Path = REPOSITORY,
    ):  # fmt: skip
        self.library, self.threads = library, threads
        self._remarks = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.workers", module, json.dumps({**spec, "threads": threads})],
            cwd=tree, env=environment(threads, tree), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._remarks,
        )  # fmt: skip
        self.cases = [tuple(case) for case in self._answer()]

    def sample(self, case: int) -> Sample:
        """Run one repetition of a case."""
        print(case, file=self._process.stdin, flush=True)
        return Sample(*self._answer())

    def _answer(self) -> Any:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            code = self._process.wait()
            self._remarks.seek(0)
            raise RuntimeError(f"the worker of {self.library} ended with code {code}:\n{self._remarks.read()[-3000:]}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._remarks.close()


def environment(threads: int, tree: Path = REPOSITORY) -> dict[str, str]:
    """Return the environment variables of a process with this number of threads, which runs the code of `tree`."""
    return {
        **os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip


def alternate(workers: Iterable[Worker], rounds: int) -> dict[tuple[Worker, int], list[Sample]]:
    """Return the samples of each case of each worker. For each network in turn, every round runs each case once."""
    each = [(worker, case) for worker in workers for case in range(len(worker.cases))]
    networks = list(dict.fromkeys(worker.cases[case][0] for worker, case in each))
    samples: dict[tuple[Worker, int], list[Sample]] = {one: [] for one in each}
    for network in networks:
        for _ in range(rounds):
            for worker, case in each:
                if worker.cases[case][0] == network:
                    samples[worker, case].append(worker.sample(case))
    return samples


def pin(threads: int) -> None:
    """Bind a process to as many cores as it has threads: one thread does not move, and no library starts more."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def time_steps(case: Case, steps: int) -> Sample:
    wall, cpu = time.perf_counter(), time.process_time()
    case.run(steps)
    return Sample(1e3 * (time.perf_counter() - wall) / steps, 1e3 * (time.process_time() - cpu) / steps)


def choose_steps(case: Case, target_s: float) -> int:
    """Return how many steps take about `target_s` seconds, after steps that compile and warm up."""
    case.run(case.steps or 1)
    if case.steps:
        return case.steps
    steps = 2
    for _ in range(2):
        steps = max(1, min(MOST_STEPS, round(1e3 * target_s / time_steps(case, steps).wall_ms)))
    return steps


def main(module: str, spec: dict[str, Any]) -> None:
    """Time the cases of `module` when the parent process asks for it."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of the library must not get between the answers
    pin(spec["threads"])
    cases = list(importlib.import_module(module).cases(spec))
    steps = [choose_steps(case, spec["target_s"]) for case in cases]
    print(json.dumps([(case.network, case.kind) for case in cases]), file=answers)
    for line in sys.stdin:
        print(json.dumps(time_steps(cases[int(line)], steps[int(line)])), file=answers)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
