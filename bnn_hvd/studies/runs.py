"""The runs of a study: their commands, their state, and the training of those that are not finished."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bnn_hvd import config as flags
from bnn_hvd.config import ChurnConfig, ScaleConfig, TrainConfig
from bnn_hvd.config.options import Values
from bnn_hvd.errors import TrainingError, UserError
from bnn_hvd.run import records, rundir
from bnn_hvd.studies import launch

RUNS = "runs"
MAY_DIFFER = ("data_dir", "stage_dir", "max_runtime_s")  # of a finished run and what a study asks for
Study = ScaleConfig | ChurnConfig


class Job(NamedTuple):
    """One training run.

    Attributes:
      ranks: the number of processes.
      config: resolved.
    """

    ranks: int
    config: TrainConfig

    @property
    def name(self) -> str:
        return self.config.folder.name


def run_flags(config: Study, name: str, **changes: Any) -> Values:
    """Return the flags of one run: those of the study, with `changes`."""
    return {
        **config.run_defaults,
        **config.given,
        "run": str(Path(config.run, RUNS, name)),
        "dry_run": False,
        **changes,
    }


def check_used(names: Iterable[str], jobs: Sequence[Job], why: str = "") -> None:
    """Check that each of these flags changes something in at least one of the runs.

    why: words before the flag, in the message.

    Raises:
      UserError: a flag is used by none of the runs.
    """
    used = {name for job in jobs for name in flags.to_flags(job.config)}
    unused = [name for name in names if name not in used]
    if unused:
        methods = ", ".join(dict.fromkeys(job.config.method.name for job in jobs))
        raise UserError(f"{why}--{unused[0]} changes nothing in a run of this study ({methods}): leave it out")


def shown(jobs: Sequence[Job], config: Study) -> str:
    """Return the text that --dry_run prints: the command of each run."""
    return "\n".join(" ".join(command(job, config)) for job in jobs)


def command(job: Job, config: Study) -> list[str]:
    """Return the words that start a run. Its flags are in a file, so that no launcher parses them."""
    before = launch.launcher(job.ranks, job.config.machine.threads, config.ranks_per_node, os.environ)
    return [*before, str(launch.PYTHON), "-m", "bnn_hvd", "train", f"--flagfile={beside(job, '.cfg')}"]


def beside(job: Job, suffix: str) -> Path:
    """Return a path beside the run directory, because training has yet to make the directory."""
    return job.config.folder.with_name(f"{job.name}{suffix}")


def train(jobs: Sequence[Job], config: Study) -> bool:
    """Train the runs that are not finished; returns whether all are finished now.

    Raises:
      TrainingError: a run failed; it quotes the run's error and names its log.
      UserError: a run directory belongs to another study.
    """
    records.make_study_directory(Path(config.run, RUNS))
    waiting = [job for job in jobs if not finished(job)]
    if len(waiting) < len(jobs):
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are finished already")
    if waiting and not launch.batch_system(os.environ):
        print(load_warning(os.getloadavg()[0], os.cpu_count() or 1), end="", file=sys.stderr, flush=True)
    for i, job in enumerate(waiting, 1):
        print(f"[{i}/{len(waiting)}] {job.name}", end=" ", flush=True)
        start = time.monotonic()
        records.write_text(beside(job, ".cfg"), flags.to_flagfile(job.config))
        stopped = launch.run(command(job, config), beside(job, ".log"))
        print(f"({time.monotonic() - start:.0f} s)", flush=True)
        if not finished(job):
            if stopped or status(job) == "interrupted":
                return False
            raise TrainingError(failure(job))
        if stopped:
            return i == len(waiting)
    return True


def load_warning(load: float, cores: int) -> str:
    """Return a warning that other programs use this machine, "" if they do not: ranks wait for the slowest core."""
    if load < 0.5 * cores:
        return ""
    return f"bnn_hvd: warning: others use this machine (load {load:.1f}, {cores} cores): the times will be too long\n"


def finished(job: Job) -> bool:
    """Return whether the run has finished.

    Raises:
      UserError: the run directory is of a run with other flags, whose times can't be compared with this study's.
    """
    path = job.config.folder
    if not (path / records.CONFIG).exists():
        return False
    stored = rundir.read_config(path)
    here, there = (flags.to_flags(one) for one in map(rundir.with_full_paths, (job.config, stored)))
    differing = [
        f"--{name}: {there.get(name)} there, {value} here"
        for name, value in here.items()
        if name not in MAY_DIFFER and there.get(name) != value
    ]
    if differing:
        raise UserError(f"{path} belongs to another study ({'; '.join(differing)}): give another --run")
    return status(job) == "done"


def status(job: Job) -> str:
    path = job.config.folder / records.SUMMARY
    return records.read_json(path)["status"] if path.exists() else ""


def failure(job: Job) -> str:
    """Return why a run failed: its own error message, else the last exception in its log, else the last line."""
    lines = [line.strip() for line in beside(job, ".log").read_text(errors="replace").splitlines() if line.strip()]
    errors = [line[line.index("bnn_hvd: error") :] for line in lines if "bnn_hvd: error" in line]
    raised = [line for line in lines if "Error:" in line or "Exception:" in line]
    said = (errors[:1] or raised[-1:] or lines[-1:] or ["no output"])[0].removeprefix("bnn_hvd: error: ")
    log = beside(job, ".log")
    return f"{job.name} failed: {said} (all of it in {log}; the same command goes on after the finished runs)"
