"""End-to-end tests start bnn_hvd with these functions: on one rank or two, one command per process or several.

TensorFlow takes seconds to import. So tests share runs, `several` runs many commands in one process, and processes are
forks of one that has imported it (fork_server.py), unless a test asks for a fresh one.
"""

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

from bnn_hvd.run import checkpoint, records

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
HOROVODRUN = Path(sys.executable).parent / "horovodrun"
TIMEOUT_S = 300  # for one job, which takes 10 s on a quiet machine
CLI = ["-m", "bnn_hvd"]
# Open MPI on one machine: ranks talk through shared memory and loopback, may run as root, and be more than the cores.
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl": "self,vader,tcp",
    "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_oob_tcp_if_include": "lo",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}  # fmt: skip

# A tiny run that depends on everything that a resumed run must restore: noise, epoch, schedule, optimizer.
TINY = (
    "--model=BNN_FC_flip", "--batch_size=32", "--kl_warmup_epochs=2", "--eval_every_epochs=4", "--eval_draws=2",
    "--threads=1", "--seed=7",
)  # fmt: skip
# The same run, slow enough to be interrupted in the middle: every step is a call and writes a row.
SLOW = ("--steps_per_call=1", "--log_every_steps=1", "--checkpoint_every_steps=10")

needs_horovodrun = pytest.mark.skipif(
    not HOROVODRUN.exists(), reason=f"two ranks need Horovod's launcher, and there is no {HOROVODRUN}"
)


class Outcome(NamedTuple):
    """The result of one command on one rank."""

    code: int
    stdout: str
    stderr: str
    peak_mb: float = 0.0  # of the whole process, from its start to the end of this command


def bnn_hvd(
    *flags: str, ranks: int = 1, env: dict[str, str] | None = None, fresh: bool = False
) -> subprocess.CompletedProcess:
    """Run `python -m bnn_hvd *flags` to its end; the arguments are those of `python`."""
    return python(*CLI, *flags, ranks=ranks, env=env, fresh=fresh)


def python(
    *args: str | Path, ranks: int = 1, env: dict[str, str] | None = None, fresh: bool = False, cwd: Path | None = None
) -> subprocess.CompletedProcess:
    """Run `python *args` to its end.

    fresh: start new interpreters that import everything themselves, as a user's do, instead of forks.
    """
    words = command(args, ranks, sys.executable if fresh else fork_interpreter())
    return subprocess.run(
        words, env=environment(env), cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def start(*args: str | Path, ranks: int = 1, log: Path = Path(os.devnull)) -> subprocess.Popen:
    """Start `python *args` in fresh interpreters and return at once; the output goes to `log`."""
    with log.open("w") as file:
        return subprocess.Popen(
            command(args, ranks, sys.executable), env=environment(), stdout=file, stderr=subprocess.STDOUT
        )


def command(args: Iterable[str | Path], ranks: int, interpreter: str) -> list[str]:
    launcher = [interpreter, str(HOROVODRUN), "-np", str(ranks), "--"] if ranks > 1 else []
    return [*launcher, interpreter, *map(str, args)]


@functools.cache
def fork_interpreter() -> str:
    """Start the fork server, once, and return a `python` that runs programs in forks of it.

    The server ends when this process does, as its stdin is then closed.
    """
    folder = Path(tempfile.mkdtemp(prefix="bnn_hvd_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    interpreter, socket = folder / "python", folder / "socket"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {TESTS}/fork_client.py {socket} "$0" "$@"\n')
    interpreter.chmod(0o700)
    (folder / "horovodrun").symlink_to(HOROVODRUN)  # programs look for it beside their interpreter
    words = [sys.executable, TESTS / "fork_server.py", socket]
    server = subprocess.Popen(words, env=environment(), stdin=subprocess.PIPE, start_new_session=True)
    wait_until(socket.exists, server)
    return str(interpreter)


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a job, in which Python finds this checkout and the launcher finds its own programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PMI_", "PMIX_"))}
    return {
        **kept,
        "PATH": f"{HOROVODRUN.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "OMPI_MCA_mpi_yield_when_idle": "1",  # a rank that waits gives its core to the other
        **(extra or {}),
    }


def several(folder: Path, *commands: Sequence[str], ranks: int = 1, fresh: bool = False) -> list[list[Outcome]]:
    """Run commands one after another in one process per rank; returns their outcomes [command][rank].

    fresh: see `python`.
    """
    job = python(*several_args(folder, *commands), ranks=ranks, fresh=fresh)
    assert job.returncode == 0, job.stderr
    return outcomes(folder, len(commands), ranks)


def all_succeed(folder: Path, *commands: Sequence[str], ranks: int = 1, fresh: bool = False) -> list[list[Outcome]]:
    """Run commands as `several` does, and check that each ends with code 0 on every rank."""
    found = several(folder, *commands, ranks=ranks, fresh=fresh)
    failed = [(words, each) for words, each in zip(commands, found, strict=True) if any(rank.code for rank in each)]
    assert not failed, failed
    return found


def several_args(folder: Path, *commands: Sequence[str]) -> list[str | Path]:
    """Return the arguments with which `python` runs these commands and writes their output to `folder`."""
    folder.mkdir()
    (folder / "commands.json").write_text(json.dumps([in_short(words) for words in commands]))
    return [TESTS / "several.py", folder]


def in_short(words: Sequence[str]) -> list[str]:
    """Return a command as it is, but `predict` without --check_draws makes none: the check takes seconds."""
    checks = words[0] != "predict" or any(str(word).startswith("--check_draws") for word in words)
    return [*map(str, words), *([] if checks else ["--check_draws=0"])]


def outcomes(folder: Path, num_commands: int, ranks: int) -> list[list[Outcome]]:
    def read(name: str) -> Outcome:
        code, out, err, peak = ((folder / f"{name}.{part}").read_text() for part in ("code", "out", "err", "peak"))
        return Outcome(int(code), out, err, int(peak) / 1024)

    return [[read(f"{i}.rank{rank}") for rank in range(ranks)] for i in range(num_commands)]


def only_when_asked_for(marker: str, folder: Path, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of a folder, and deselect them unless `-m` names the marker."""
    mine = [item for item in items if folder in item.path.parents]
    for item in mine:
        item.add_marker(marker)
    if marker not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


def stored(run: Path) -> dict[str, np.ndarray]:
    """Return the variables of a run's newest checkpoint."""
    found = checkpoint.read_newest_good(run / records.CHECKPOINTS)
    assert found is not None
    return {name: value for name, value in found.items() if not checkpoint.is_progress(name)}


def wait_until(condition: Callable[[], Any], job: subprocess.Popen) -> Any:
    """Call `condition` again and again while the job runs; returns its first true value."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        assert job.poll() is None, f"the job ended with code {job.returncode} before {condition.__name__}"
        time.sleep(0.01)
    raise TimeoutError(condition.__name__)


def processes(job: subprocess.Popen, script: str | None = None) -> list[psutil.Process]:
    """Return the processes of a job; with `script`, only the Python ones that run it (the ranks)."""
    everyone = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
    if script is None:
        return everyone
    return [process for process in everyone if script in "".join(process.cmdline()[1:2])]


def kill_all(job: subprocess.Popen) -> None:
    """Kill every process of a job at once with SIGKILL, as when a batch system or a lost node ends it."""
    everyone = processes(job)
    for process in everyone:
        process.send_signal(signal.SIGKILL)
    job.wait(timeout=TIMEOUT_S)
    psutil.wait_procs(everyone, timeout=10)  # they hold the lock of the run directory until they have ended


def read_json(run: Path, name: str = "summary.json") -> Any:
    return json.loads((run / name).read_text())


def rows(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl, or those of one kind; a line that is not whole raises an error."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in lines if kind in (None, row["kind"])]


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint, 0 if there is none."""
    return max((int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*.npz")), default=0)


def errors(text: str) -> list[str]:
    """Return the error lines of a stderr, without the messages of TensorFlow."""
    return [line for line in text.splitlines() if "bnn_hvd: error" in line]


def write_npz(path: Path, num_train: int = 96, num_test: int = 40, num_features: int = 6, **changes: Any) -> Path:
    """Write a data set of 3 classes that can be learnt; `changes` are arrays that replace its own."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, size in (("train", num_train), ("test", num_test)):
        y = np.arange(size) % 3
        arrays[f"x_{part}"] = (rng.normal(size=(size, num_features)) + y[:, None]).astype(np.float32)
        arrays[f"y_{part}"] = y.astype(np.int64)
    np.savez(path, **{**arrays, **changes})
    return path
