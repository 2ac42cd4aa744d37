"""The job that the tests of hosts start: a short run, in which every step is a call and a row."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import running
from testbed import Host, Testbed

from bnn_hvd.jobs.openmpi import KEEPALIVE
from bnn_hvd.run import checkpoint, records

STEPS = 150
TRAIN = (*running.CLI, "train", *running.TINY, *running.SLOW, f"--steps={STEPS}")
STALL_S = 6  # a network that is lost is named after this time; the launcher finds it after 8 to 11 s
QUICK = dict(zip(KEEPALIVE, ("3", "2", "4"), strict=True))  # in place of half a minute
END_S = 60  # within this time of the time-out, nothing is left of a job


def start(bed: Testbed, run: Path, *flags: str, hosts: Sequence[Host] = (), stall_s: float = STALL_S, **options):
    """Start the job on the first two hosts or on `hosts`; its output goes to a file beside the run."""
    log, hosts = run.with_suffix(".log"), hosts or bed.hosts[:2]
    words = [*TRAIN, f"--run={run}", f"--stall_timeout_s={stall_s}", *flags]
    return bed.start(*words, hosts=hosts, log=log, **QUICK | options)


def rank_on(host: Host) -> psutil.Process:
    """Return the process of the rank on a host: it is the one that computes."""
    return max(host.server_children(), key=lambda process: sum(process.cpu_times()[:2]))


def output(run: Path) -> str:
    return run.with_suffix(".log").read_text()


def until(job: subprocess.Popen, condition: Callable[[], object]) -> None:
    """Wait until a condition holds, while the job runs."""
    running.wait_until(condition, job)


def past(run: Path, step: int) -> Callable[[], bool]:
    """Return a condition: the run has a checkpoint of this step, or of a later one."""
    return lambda: running.newest_step(run) >= step


def finish(bed: Testbed, run: Path, *flags: str, **options) -> None:
    """Run the job to its end, which is a good one."""
    assert bed.end(start(bed, run, *flags, **options), running.TIMEOUT_S) == 0, output(run)
    assert running.read_json(run)["status"] == "done"


def weights(run: Path) -> str:
    return running.read_json(run)["weights_sha256"]


def check_whole(run: Path) -> None:
    """Check that every checkpoint is what its name says."""
    files = checkpoint.list_newest_first(run / records.CHECKPOINTS)
    assert files
    for path in files:
        assert checkpoint._digest(path) in path.name
