"""When a rank dies or stalls, the job ends soon, names the rank, leaves no process behind, and can be resumed."""

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import running

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]

# A run that is so long that every fault comes in the middle of it; it writes a checkpoint every 20 steps.
ENDLESS = (
    *running.TINY,
    "--steps=1000000",
    "--steps_per_call=5",
    "--checkpoint_every_steps=20",
    "--eval_every_epochs=0",
)
STALL_S = 10


def start(run: Path, *flags: str) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """Start two ranks and wait for a checkpoint; returns the job and the processes of its ranks, in order of rank."""
    words = [*running.CLI, "train", *ENDLESS, f"--run={run}", *flags]
    job = running.start(*words, ranks=2, log=run.parent / f"{run.name}.log")
    at_start = running.newest_step(run)
    running.wait_until(lambda: running.newest_step(run) > at_start, job)
    ranks = [p for p in running.processes(job) if p.environ().get("OMPI_COMM_WORLD_RANK") and "bnn_hvd" in p.cmdline()]
    return job, sorted(ranks, key=lambda process: int(process.environ()["OMPI_COMM_WORLD_RANK"]))


def end(job: subprocess.Popen, ranks: list[psutil.Process], run: Path, timeout_s: float) -> tuple[int, str]:
    """Wait until a job ends by itself, and check that it leaves no process; returns its exit code and output."""
    code = job.wait(timeout=timeout_s)
    _, alive = psutil.wait_procs(ranks, timeout=10)
    for process in alive:  # a stopped process does not act on SIGTERM, but on SIGKILL
        process.kill()
    assert not alive, "orphans"
    return code, (run.parent / f"{run.name}.log").read_text()


def test_a_killed_rank_ends_the_job_and_the_next_start_resumes(tmp_path):
    run = tmp_path / "run"
    job, ranks = start(run)
    ranks[1].send_signal(signal.SIGKILL)
    code, output = end(job, ranks, run, timeout_s=60)
    assert code != 0
    assert "process rank 1" in output  # mpirun prints: "... exited on signal 9 (Killed)"
    step = running.newest_step(run)
    assert step >= 20
    again = running.bnn_hvd("train", *ENDLESS, f"--run={run}", f"--steps={step + 25}", ranks=2)
    assert again.returncode == 0, again.stderr
    assert running.read_json(run)["steps"] == step + 25


@pytest.mark.parametrize("stalled", [0, 1])
def test_a_stalled_rank_is_named_and_the_job_ends(tmp_path, stalled):
    run = tmp_path / "run"
    job, ranks = start(run, f"--stall_timeout_s={STALL_S}")
    stopped = time.monotonic()
    ranks[stalled].suspend()
    code, output = end(job, ranks, run, timeout_s=60)
    assert code != 0
    assert f"stalled: rank {stalled}." in output
    assert f"rank {1 - stalled} on " in output
    assert time.monotonic() - stopped > STALL_S
    assert running.newest_step(run) >= 20
