"""A real Balsam server and site: a sweep finishes; a run that is stopped with its BatchJob is resumed in the next."""

import json
import os
import subprocess
from pathlib import Path

import conftest
import pytest
import running

SUBMIT = running.REPOSITORY / "scripts" / "balsam" / "submit_sweep.py"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
VENV = Path(os.environ.get("BNN_HVD_BALSAM_VENV", CACHE / "bnn_hvd" / "balsam_venv"))


class Balsam:
    """A running server with the site `local1`."""

    def __init__(self, root):
        self.root = root
        self.data = root / "site" / "data"

    def python(self, *args, check=True, timeout=600):
        env = running.environment({"HOME": str(self.root / "home")})
        command = [VENV / "bin" / "python", *map(str, args)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=check)

    def sweep(self, *flags, check=True):
        """Call submit_sweep.py with these flags and those that all tests use; returns what it prints."""
        python = running.HOROVODRUN.parent / "python"
        done = self.python(SUBMIT, "--site=local1", f"--python={python}", "--ranks_per_node=2", *flags, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def states(self, sweep):
        """Return the states of each job of a sweep, in order of time: {workdir: [state]}."""
        code = (
            "import json; from balsam.api import EventLog, Job\n"
            f"jobs = {{job.id: str(job.workdir) for job in Job.objects.filter(tags={{'sweep': {sweep!r}}})}}\n"
            "events = sorted(EventLog.objects.filter(job_id=list(jobs)), key=lambda event: event.timestamp)\n"
            "states = {workdir: [] for workdir in jobs.values()}\n"
            "for event in events: states[jobs[event.job_id]].append(str(event.to_state).split('.')[-1].upper())\n"
            "print(json.dumps(states))"
        )
        return json.loads(self.python("-c", code).stdout)


@pytest.fixture(scope="module")
def balsam():
    conftest.need(["/usr/lib/postgresql", "/usr/bin/pg_lsclusters"], "postgresql")
    if not (VENV / "bin" / "balsam").exists():
        VENV.parent.mkdir(parents=True, exist_ok=True)
        try:
            conftest.run_testbed("balsam_venv.sh", VENV)
        except subprocess.CalledProcessError:
            pytest.skip(f"Balsam can't be installed into {VENV}: see balsam_venv.sh of the testbeds")
    with conftest.open_folder() as root:
        try:
            conftest.run_testbed("balsam_up.sh", root, VENV, running.HOROVODRUN.parent, env=running.OPEN_MPI)
            yield Balsam(root)
        finally:
            conftest.run_testbed("balsam_down.sh", root, VENV)


def write_flags(path, *flags):
    path.write_text("\n".join(["--batch_size=32", "--eval_every_epochs=0", "--eval_draws=2", *flags]) + "\n")
    return path


def test_a_sweep_of_four_jobs(balsam, tmp_path):
    flags = write_flags(tmp_path / "tiny.cfg", "--steps=20")
    out = balsam.sweep(
        "--name=four", f"--flagfile={flags}", "--models=BNN_FC_flip,CNN_FC", "--ranks=1,2", "--walltime_min=12",
        "--wait_min=9",
    )  # fmt: skip
    for model in ("BNN_FC_flip", "CNN_FC"):
        for ranks in (1, 2):
            name = f"four/{model}_ranks{ranks}_seed0"
            assert f"JOB_FINISHED   {name}\n" in out
            summary = running.read_json(balsam.data / name / "run")
            assert (summary["status"], summary["model"], summary["ranks"]) == ("done", model, ranks)
    assert f"python -m bnn_hvd scale --runs='{balsam.data}/four/*/run'" in out


def test_a_run_that_times_out_goes_on(balsam, tmp_path):
    """In a BatchJob of three minutes, a run has one minute; this run needs more."""
    flags = write_flags(tmp_path / "long.cfg", "--steps=100000", "--steps_per_call=10", "--checkpoint_every_steps=500")
    same = ("--name=long", f"--flagfile={flags}", "--models=CNN_FC", "--ranks=2", "--walltime_min=3")
    balsam.sweep(*same, "--wait_min=5", check=False)
    run = balsam.data / "long" / "CNN_FC_ranks2_seed0" / "run"
    step = running.newest_step(run)
    assert step > 0
    # The first BatchJob has shown how far this machine gets: a few steps more are enough.
    write_flags(flags, f"--steps={step + 100}", "--steps_per_call=10", "--checkpoint_every_steps=500")
    out = balsam.sweep(*same, "--resume", "--wait_min=5", check=False)
    states = balsam.states("long")["long/CNN_FC_ranks2_seed0"]
    assert "JOB_FINISHED" in out, states
    assert states.index("RUN_TIMEOUT") < states.index("RESTART_READY") < states.index("JOB_FINISHED")
    assert running.read_json(run)["steps"] == step + 100
    assert len(running.read_json(run, "provenance.json")) == 2  # two sessions, one run directory
