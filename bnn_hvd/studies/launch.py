"""Starts a training on many ranks, on this machine or inside the allocation of a batch system."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bnn_hvd.errors import UserError
from bnn_hvd.jobs.openmpi import KEEPALIVE
from bnn_hvd.training.stopping import StopRequest

PYTHON = Path(sys.executable)
BATCH_SYSTEMS = {"SLURM_JOB_ID": "slurm", "PBS_JOBID": "pbs", "COBALT_JOBID": "cobalt"}


def batch_system(environ: Mapping[str, str]) -> str:
    """Return slurm, pbs or cobalt inside an allocation, "" outside."""
    return next((name for variable, name in BATCH_SYSTEMS.items() if environ.get(variable)), "")


def threads(environ: Mapping[str, str], most_ranks: int, cores: int) -> int:
    """Return the number of threads of each rank. It is the same in all runs of a study, which differ in ranks alone.

    Inside an allocation the job script gives the number; if it does not, the number is 0, and each rank chooses its
    own. On one machine it is the share of a rank in the largest run.
    """
    if not batch_system(environ):
        return max(1, cores // most_ranks)
    given = environ.get("SLURM_CPUS_PER_TASK") or environ.get("OMP_NUM_THREADS") or "0"
    return int(given) if given.isdigit() else 0


def launcher(ranks: int, threads: int, ranks_per_node: int, environ: Mapping[str, str]) -> list[str]:
    """Return the words before `python -m bnn_hvd`: the launcher of the allocation, if `environ` is of one.

    threads, ranks_per_node: 0 leaves the choice to the batch system.
    """
    match batch_system(environ):
        case "slurm":
            return _srun(ranks, threads, ranks_per_node or int(environ.get("SLURM_NTASKS_PER_NODE", 0)), environ)
        case "pbs":
            return _mpiexec(ranks, threads, ranks_per_node)
        case "cobalt":
            return _aprun(ranks, threads, ranks_per_node)
    # Without `--` horovodrun would parse the flags of the program.
    return [str(PYTHON), str(PYTHON.with_name("horovodrun")), "-np", str(ranks), "--"] if ranks > 1 else []


def _srun(ranks: int, threads: int, per_node: int, environ: Mapping[str, str]) -> list[str]:
    words = ["srun", f"--mpi={environ.get('SRUN_MPI', 'pmix')}", f"--ntasks={ranks}"]
    if per_node:
        words += [f"--nodes={-(-ranks // per_node)}", f"--ntasks-per-node={min(per_node, ranks)}"]
    if threads:
        words += [f"--cpus-per-task={threads}"]
    return [*words, "--cpu-bind=cores", "--kill-on-bad-exit=1"]


def _mpiexec(ranks: int, threads: int, per_node: int) -> list[str]:
    """Return the words for Cray's PALS (Polaris, Aurora)."""
    place = ["--ppn", str(min(per_node, ranks))] if per_node else []
    bind = [f"--depth={threads}", "--cpu-bind", "depth"] if threads else []
    return ["mpiexec", "-n", str(ranks), *place, *bind]


def _aprun(ranks: int, threads: int, per_node: int) -> list[str]:
    """Return the words for Cray's ALPS (Theta), with two hardware threads per core, as in the script of `job theta`."""
    place = ["-N", str(min(per_node, ranks))] if per_node else []
    bind = ["-cc", "depth", "-d", str(threads), "-j", "2", "-e", f"OMP_NUM_THREADS={threads}"] if threads else []
    return ["aprun", "-n", str(ranks), *place, *bind, "-b"]


def run(command: list[str], log: Path) -> bool:
    """Run a command to its end and write its output to `log`; returns whether a signal asked to stop.

    Passes a signal of the batch system on to the command, so that the training stops at a checkpoint.

    Raises:
      UserError: the command can't be started.
    """
    # horovodrun passes on TERM alone. The launchers of batch systems pass on USR1, and on TERM kill the ranks.
    passed_on = signal.SIGTERM if any("horovodrun" in word for word in command) else signal.SIGUSR1
    environment = {**KEEPALIVE, **os.environ, "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    with log.open("w") as file, StopRequest(0) as stop:
        try:
            job = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        except OSError as error:
            raise UserError(f"{command[0]} can't be started ({error.strerror}): put it on PATH") from None
        with job:
            while not stop.requested() and _running(job):
                pass
            if stop.requested() and job.poll() is None:
                job.send_signal(passed_on)
        return stop.requested()


def _running(job: subprocess.Popen) -> bool:
    """Wait 0.2 s for the end of a job; returns whether it still runs."""
    try:
        job.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return True
    return False
