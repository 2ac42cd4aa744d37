"""How a training of so many ranks is started: here, or inside the allocation of a batch system."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bnn_hvd.errors import UserError
from bnn_hvd.training.stopping import StopRequest

PYTHON = Path(sys.executable)
BATCH_SYSTEMS = {"SLURM_JOB_ID": "slurm", "PBS_JOBID": "pbs", "COBALT_JOBID": "cobalt"}


def batch_system(environ: Mapping[str, str]) -> str:
    """Return slurm, pbs or cobalt inside an allocation, else ""."""
    return next((name for variable, name in BATCH_SYSTEMS.items() if environ.get(variable)), "")


def threads(environ: Mapping[str, str], most_ranks: int, cores: int) -> int:
    """Return the threads of each rank in all runs of a study, so that only the number of ranks differs.

    In an allocation, what the job script says (0 if it says nothing: then each rank sees for itself);
    on one machine, the share of a rank in the largest run.
    """
    if not batch_system(environ):
        return max(1, cores // most_ranks)
    given = environ.get("SLURM_CPUS_PER_TASK") or environ.get("OMP_NUM_THREADS") or "0"
    return int(given) if given.isdigit() else 0


def launcher(ranks: int, threads: int, ranks_per_node: int, environ: Mapping[str, str]) -> list[str]:
    """Return the words before `python -m bnn_hvd`, by the allocation that `environ` tells of.

    threads, ranks_per_node: 0 leaves the choice to the batch system.
    """
    match batch_system(environ):
        case "slurm":
            return _srun(ranks, threads, ranks_per_node or int(environ.get("SLURM_NTASKS_PER_NODE", 0)), environ)
        case "pbs":
            return _mpiexec(ranks, threads, ranks_per_node)
        case "cobalt":
            return _aprun(ranks, threads, ranks_per_node)
    # `--`: horovodrun would take the flags of the program for its own
    return [str(PYTHON), str(PYTHON.with_name("horovodrun")), "-np", str(ranks), "--"] if ranks > 1 else []


def _srun(ranks: int, threads: int, per_node: int, environ: Mapping[str, str]) -> list[str]:
    words = ["srun", f"--mpi={environ.get('SRUN_MPI', 'pmix')}", f"--ntasks={ranks}"]
    if per_node:
        words += [f"--nodes={-(-ranks // per_node)}", f"--ntasks-per-node={min(per_node, ranks)}"]
    if threads:
        words += [f"--cpus-per-task={threads}"]
    return [*words, "--cpu-bind=cores", "--kill-on-bad-exit=1"]


def _mpiexec(ranks: int, threads: int, per_node: int) -> list[str]:
    """Cray's PALS (Polaris, Aurora)."""
    place = ["--ppn", str(min(per_node, ranks))] if per_node else []
    bind = [f"--depth={threads}", "--cpu-bind", "depth"] if threads else []
    return ["mpiexec", "-n", str(ranks), *place, *bind]


def _aprun(ranks: int, threads: int, per_node: int) -> list[str]:
    """Cray's ALPS (Theta), with two hardware threads of a core, as `job theta` has it."""
    place = ["-N", str(min(per_node, ranks))] if per_node else []
    bind = ["-cc", "depth", "-d", str(threads), "-j", "2", "-e", f"OMP_NUM_THREADS={threads}"] if threads else []
    return ["aprun", "-n", str(ranks), *place, *bind, "-b"]


def run(command: list[str], log: Path) -> bool:
    """Run a command to its end, its output into `log`; returns whether a signal asked to stop.

    A signal of the batch system is handed on, so that the training stops at a checkpoint.
    """
    # horovodrun knows TERM alone; the launchers of batch systems hand USR1 on, and kill the ranks on TERM
    handed_on = signal.SIGTERM if any("horovodrun" in word for word in command) else signal.SIGUSR1
    environment = {**os.environ, "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    with log.open("w") as file, StopRequest(0) as stop:
        try:
            job = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        except OSError as error:
            raise UserError(f"{command[0]} can't be started: {error.strerror}") from None
        with job:
            while not stop.requested() and _running(job):
                pass
            if stop.requested() and job.poll() is None:
                job.send_signal(handed_on)
        return stop.requested()


def _running(job: subprocess.Popen) -> bool:
    """Wait a moment for the end of a job; returns whether it still runs."""
    try:
        job.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return True
    return False
