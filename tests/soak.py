"""Kill training at random moments, again and again: `python tests/soak.py --runs=100 --report=FILE` (`make soak`).

Each run is interrupted once or twice by a random fault at a random moment, started again each time, and in the end
compared with the run that was never interrupted. Under `unshare --mount`, the disk may also fill up.
"""

import argparse
import collections
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import running

from bnn_hvd.run import checkpoint, records

TRAIN = (*running.CLI, "train", *running.TINY, *running.SLOW, "--steps=60", "--stall_timeout_s=12")
RANKS = (1, 2, 4)
FAULTS = ("SIGKILL of a rank", "SIGKILL of the launcher", "SIGTERM of all ranks", "SIGSTOP of a rank", "full disk")
END_S = 90  # within this time of a fault, nothing is left of a job on a machine with other work


class Session(NamedTuple):
    """One start of a run, and what ended it: a fault, or "" for its end."""

    fault: str
    step: int  # of the newest checkpoint when it ended
    code: int


class Run(NamedTuple):
    ranks: int
    sessions: list[Session]


class Job:
    """A job on one machine, whose ranks are forks of one process; at most one at a time."""

    def __init__(self, run: Path, ranks: int):
        self.run, self.log = run, run.parent / "log"
        python = running.fork_interpreter()
        self.server = next(
            process for process in psutil.Process().children() if "fork_server.py" in " ".join(process.cmdline())
        )
        mpirun = [str(running.HOROVODRUN.with_name("mpirun")), "-np", str(ranks), "--bind-to", "none"]
        words = [*(mpirun if ranks > 1 else []), python, *TRAIN, f"--run={run}"]
        with self.log.open("w") as file:
            self.launcher = subprocess.Popen(
                words, env=running.environment(running.OPEN_MPI), stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def ranks(self) -> list[psutil.Process]:
        return self.server.children()

    def wait(self) -> int:
        """Wait for the end of the job; returns its exit code. Nothing of it may be left."""
        deadline = time.monotonic() + END_S
        code = self.launcher.wait(timeout=END_S)
        while left := [process for process in self.ranks() if alive(process)]:
            assert time.monotonic() < deadline, f"orphans: {left}"
            time.sleep(0.05)
        return code


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def strike(fault: str, job: Job, rng: random.Random, filler: Path) -> None:
    """Let a fault happen to a job."""
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):  # the job has ended before, or has not begun
        match fault:
            case "SIGKILL of a rank":
                rng.choice(job.ranks()).kill()
            case "SIGKILL of the launcher":
                job.launcher.kill()
            case "SIGTERM of all ranks":
                for rank in job.ranks():
                    rank.terminate()
            case "SIGSTOP of a rank":
                stop(rng.choice(job.ranks()), alone=len(job.ranks()) == 1)
            case "full disk":
                fill(filler)


def stop(rank: psutil.Process, alone: bool) -> None:
    """Stop a rank: the others end the job. One that is alone goes on after a second."""
    rank.suspend()
    if alone:
        time.sleep(1)
        rank.resume()


def fill(filler: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@contextlib.contextmanager
def disk(folder: Path, private: bool) -> Iterator[Path]:
    """Yield a folder, on a small disk of its own if mounts are private here."""
    folder.mkdir()
    if private:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        if private:
            subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder)


def train(run: Path, ranks: int, fault: str, moment_s: float, rng: random.Random) -> Session:
    """Start a run, let a fault happen after so many seconds, and wait for its end."""
    filler = run.parent / "filler"
    job = Job(run, ranks)
    try:
        if fault:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.launcher.wait(timeout=moment_s)
            strike(fault, job, rng, filler)
        code = job.wait()
    finally:
        filler.unlink(missing_ok=True)
        for process in job.ranks():
            process.kill()
        job.launcher.kill()
    assert fault or code == 0, job.log.read_text()
    for path in checkpoint.list_newest_first(run / records.CHECKPOINTS):
        assert checkpoint._digest(path) in path.name, f"{path} is damaged"
    return Session(fault, running.newest_step(run), code)


def files(run: Path) -> set[str]:
    """Return the files of a run, without the digits in their names; TensorBoard begins a file in each session."""
    found = (str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return {re.sub(r"-[0-9a-f]{16}\.npz", ".npz", name) for name in found if not name.startswith(records.TENSORBOARD)}


def soak(num_runs: int, seed: int, folder: Path, private: bool, sizes: Sequence[int] = RANKS) -> list[Run]:
    """Interrupt so many runs; returns what happened to each. An assertion fails where one differs from the others.

    private: mounts that are made here are seen by nobody else. sizes: numbers of ranks, in turn.
    """
    rng, references, done = random.Random(seed), {}, []
    for index in range(num_runs):
        ranks = sizes[index % len(sizes)]
        if ranks not in references:
            with disk(folder / f"reference{ranks}", private) as place:
                began = time.monotonic()
                train(place / "run", ranks, "", 0, rng)
                references[ranks] = summary(place / "run"), time.monotonic() - began
        expected, usual_s = references[ranks]
        faults = [rng.choice(FAULTS if private else FAULTS[:-1]) for _ in range(rng.choice((1, 1, 2)))]
        with disk(folder / f"run{index}", private) as place:
            moments = [rng.uniform(0.2 * usual_s, 1.1 * usual_s) for _ in faults]
            sessions = [train(place / "run", ranks, fault, at, rng) for fault, at in zip(faults, moments, strict=True)]
            done.append(Run(ranks, [*sessions, train(place / "run", ranks, "", 0, rng)]))
            for what, found, wanted in zip(
                ("weights", "steps", "files"), summary(place / "run"), expected, strict=True
            ):
                assert found == wanted, (done[-1], what, found, wanted)
        story = "; ".join(f"{session.fault or 'its end'} at step {session.step}" for session in done[-1].sessions)
        print(f"{index + 1}/{num_runs}: ranks: {ranks}; {story}", flush=True)
    return done


def summary(run: Path) -> tuple:
    """Return what must be equal in all runs: weights, logged steps, files."""
    return (
        running.read_json(run)["weights_sha256"], [row["step"] for row in running.rows(run, "train")], files(run),
    )  # fmt: skip


def table(done: list[Run]) -> str:
    """Return what happened, as a table by fault and number of ranks."""
    counts = collections.Counter((s.fault, run.ranks) for run in done for s in run.sessions if s.fault)
    codes = collections.defaultdict(set)
    for run in done:
        for session in run.sessions:
            codes[session.fault].add(session.code)
    rows = [f"| fault | {' | '.join(f'{ranks} ranks' for ranks in RANKS)} | exit codes |", "|---|---|---|---|---|"]
    for fault in FAULTS:
        each = " | ".join(str(counts[fault, ranks]) for ranks in RANKS)
        rows.append(f"| {fault} | {each} | {', '.join(map(str, sorted(codes[fault])))} |")
    return "\n".join(rows)


def mounts_are_private() -> bool:
    """Return whether `unshare --mount` has started this process: nobody else sees its mounts."""
    mine, parent = (os.readlink(f"/proc/{process}/ns/mnt") for process in ("self", os.getppid()))
    return mine != parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="file for the table")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bnn_hvd_soak_") as folder:
        done = soak(given.runs, given.seed, Path(folder), mounts_are_private())
    minutes = (time.monotonic() - began) / 60
    text = (
        f"{len(done)} runs, {sum(len(run.sessions) for run in done)} starts, {minutes:.0f} minutes\n\n{table(done)}\n"
    )
    print(text)
    if given.report:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(text)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
