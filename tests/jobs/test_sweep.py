"""The plan of a Balsam sweep, which needs no Balsam, and its bad inputs."""

import json
import subprocess
import sys

import pytest
import running

SUBMIT = running.REPOSITORY / "scripts" / "balsam" / "submit_sweep.py"
FLAGFILE = running.REPOSITORY / "configs" / "quickstart.cfg"
FLAGS = ("--name=s", f"--flagfile={FLAGFILE}", "--models=BNN_conv_flip,CNN_conv", "--ranks=1,2,8", "--seeds=0,5")


def sweep(*flags):
    return subprocess.run([sys.executable, SUBMIT, *flags], capture_output=True, text=True, check=False, timeout=60)


def test_plan():
    done = sweep(*FLAGS, "--dry_run", "--ranks_per_node=2", "--threads_per_rank=3", "--queue=q", "--project=p")
    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads(done.stdout)
    assert plan["batch_job"] == {
        "num_nodes": 4, "wall_time_min": 60, "job_mode": "mpi", "queue": "q", "project": "p",
        "filter_tags": {"sweep": "s"},
    }  # fmt: skip
    jobs = {job["workdir"]: job for job in plan["jobs"]}
    assert len(jobs) == len(plan["jobs"]) == 2 * 3 * 2
    assert jobs["s/CNN_conv_ranks8_seed5"] == {
        "workdir": "s/CNN_conv_ranks8_seed5",
        "tags": {"sweep": "s", "model": "CNN_conv", "ranks": "8", "seed": "5"},
        "num_nodes": 4, "ranks_per_node": 2, "threads_per_rank": 3,
        "parameters": {"flagfile": str(FLAGFILE), "model": "CNN_conv", "seed": "5", "threads": "3"},
    }  # fmt: skip
    sizes = [(job["num_nodes"], job["ranks_per_node"]) for job in plan["jobs"][::2][:3]]
    assert sizes == [(1, 1), (1, 2), (4, 2)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ranks=3", "--ranks_per_node=2"], "--ranks=3 does not fill nodes of --ranks_per_node=2"),
        (["--ranks=two"], "--ranks"),
        (["--ranks=0"], "--ranks"),
        (["--models=,"], "--models"),
        (["--ranks_per_node=0"], "must be at least 1"),
        (["--flagfile=nowhere.cfg"], "--flagfile=nowhere.cfg does not exist"),
    ],
)
def test_bad_flags(flags, message):
    done = sweep(*FLAGS, "--ranks_per_node=2", "--dry_run", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_sweep_needs_a_site():
    done = sweep(*FLAGS, "--ranks_per_node=2")
    assert done.returncode == 2
    assert "--site is required" in done.stderr
