"""The scripts for Theta and PBS, with stand-ins for aprun and mpiexec and the variables of the schedulers."""

import shutil
import signal
import subprocess
from pathlib import Path

import conftest
import pytest
import running

QSUB = '#!/bin/bash\nprintf "%s\\n" "$@" > queued\n'


@pytest.fixture
def site(tmp_path, flagfile):
    """Return a function that starts the script of a scheduler, on one node with two ranks."""
    conftest.need([], "")
    programs = tmp_path / "bin"
    programs.mkdir()
    for launcher in ("aprun", "mpiexec"):
        (programs / launcher).symlink_to(conftest.TESTBEDS / "launch_shim.py")
    (programs / "qsub").write_text(QSUB)
    (programs / "qsub").chmod(0o755)
    (tmp_path / "nodes").write_text("n1\n")

    def start(scheduler, **env):
        script = tmp_path / f"{scheduler}.sh"
        size = ("--nodes=1", "--ranks_per_node=2", "--threads_per_rank=1", f"--flagfile={flagfile}")
        script.write_text(running.bnn_hvd("job", scheduler, *size).stdout)
        inherited = running.environment(running.OPEN_MPI)
        mpirun = shutil.which("mpirun", path=inherited["PATH"])
        env = {
            **inherited, "PATH": f"{programs}:{inherited['PATH']}", "REAL_MPIRUN": mpirun,
            "COBALT_JOBSIZE": "1", "COBALT_JOBID": "7", "PBS_JOBID": "7.server",
            "PBS_NODEFILE": str(tmp_path / "nodes"), "PBS_O_WORKDIR": str(tmp_path), **env,
        }  # fmt: skip
        output = (tmp_path / f"{scheduler}.out").open("a")
        return subprocess.Popen(
            ["bash", script, f"--run={tmp_path / 'run'}"], cwd=tmp_path, env=env, stdout=output, stderr=output
        )

    return start


@pytest.mark.parametrize("scheduler", ["theta", "pbs"])
def test_signal_checkpoint_resubmission_and_the_same_weights(site, scheduler, same_result, tmp_path):
    """A run is stopped by SIGUSR1; then the test runs the job that the script submitted, as the scheduler would."""
    job = site(scheduler)
    try:
        running.wait_until(lambda: running.newest_step(tmp_path / "run") >= 100, job)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=running.TIMEOUT_S) == 75, (tmp_path / f"{scheduler}.out").read_text()
    finally:
        job.kill()
    assert running.read_json(tmp_path / "run")["status"] == "interrupted"
    option, variables, script, *words = (tmp_path / "queued").read_text().splitlines()
    assert Path(script).name == f"{scheduler}.sh"
    if scheduler == "theta":
        assert (option, words) == ("--env", [f"--run={tmp_path / 'run'}"])
    else:
        assert (option, words) == ("-v", [])
    separator = ":" if scheduler == "theta" else ","
    again = site(scheduler, **dict(pair.split("=", 1) for pair in variables.split(separator)))
    assert again.wait(timeout=running.TIMEOUT_S) == 0, (tmp_path / f"{scheduler}.out").read_text()
    same_result(tmp_path / "run")
