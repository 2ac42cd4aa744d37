"""The sbatch script in a real Slurm: it trains, resumes after a signal, and is not requeued after scancel."""

import re
import subprocess
import time

import conftest
import pytest
import running

SCRIPT = running.REPOSITORY / "scripts" / "submit_slurm.sh"


class Slurm:
    """A running Slurm of one or two nodes."""

    def __init__(self, root):
        self.root = root

    def call(self, *words, **env):
        environment = running.environment({**running.OPEN_MPI, "SLURM_CONF": f"{self.root}/slurm.conf", **env})
        done = subprocess.run(
            [str(word) for word in words], env=environment, cwd=running.REPOSITORY, capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    def submit(self, nodes, flagfile, run):
        """Submit the repository's script on two ranks; returns the job's number."""
        size = (f"--nodes={nodes}", f"--ntasks-per-node={2 // nodes}", "--cpus-per-task=1")
        out = self.call("sbatch", "--parsable", *size, f"--output={run}.out", SCRIPT, f"--run={run}", FLAGFILE=flagfile)
        return out.strip()

    def job(self, number):
        """Return the fields of a job that Slurm shows: {field: value}."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.call("scontrol", "show", "job", number)))

    def wait(self, number, condition):
        """Wait for a condition on the fields of a job; returns the fields."""
        deadline = time.monotonic() + running.TIMEOUT_S
        while time.monotonic() < deadline:
            job = self.job(number)
            if condition(job):
                return job
            time.sleep(0.2)
        raise TimeoutError(f"job {number}: {job}")

    def finished(self, number):
        return self.wait(number, lambda job: job["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"))


@pytest.fixture
def slurm(request):
    """Start a Slurm with the number of nodes that the test's parameter gives."""
    conftest.need(
        ["sbatch", "slurmctld", "munged", "/usr/lib/x86_64-linux-gnu/libpmix.so"], "slurm-wlm munge libpmix-dev"
    )
    with conftest.open_folder() as root:
        conftest.run_testbed("slurm_up.sh", root, request.param)
        try:
            yield Slurm(root)
        finally:
            conftest.run_testbed("slurm_down.sh", root)
            time.sleep(1)  # the daemons end after a signal, and write to their folder until then


def mid_run(run):
    """Return a condition: the run is at step 100 or later, or the job has failed."""
    return lambda job: running.newest_step(run) >= 100 or job["JobState"] == "FAILED"


@pytest.mark.parametrize("slurm", [1], indirect=True)
def test_two_ranks_under_srun_and_one_job_that_is_cancelled(slurm, flagfile, same_result, tmp_path):
    number = slurm.submit(1, flagfile, tmp_path / "run")
    job = slurm.finished(number)
    assert (job["JobState"], job["ExitCode"]) == ("COMPLETED", "0:0"), (tmp_path / "run.out").read_text()
    same_result(tmp_path / "run")

    number = slurm.submit(1, flagfile, tmp_path / "cancelled")
    slurm.wait(number, mid_run(tmp_path / "cancelled"))
    slurm.call("scancel", number)
    job = slurm.finished(number)
    time.sleep(2)  # in this time a requeue would show
    assert (job["JobState"], slurm.job(number)["JobState"], job["Restarts"]) == ("CANCELLED", "CANCELLED", "0")


@pytest.mark.parametrize("slurm", [2], indirect=True)
def test_two_nodes_signal_checkpoint_requeue_and_the_same_weights(slurm, flagfile, same_result, tmp_path):
    run = tmp_path / "run"
    number = slurm.submit(2, flagfile, run)
    slurm.wait(number, mid_run(run))
    slurm.call("scancel", "--batch", "--signal=USR1", number)
    slurm.wait(number, lambda job: job["Restarts"] == "1")
    step = running.newest_step(run)
    assert 100 <= step < conftest.STEPS
    job = slurm.finished(number)
    output = run.with_suffix(".out").read_text()
    assert (job["JobState"], job["Restarts"], job["NumNodes"]) == ("COMPLETED", "1", "2"), output
    assert "stopped early at step" in output
    assert len(running.read_json(run, "provenance.json")) == 2  # two sessions
    same_result(run)
