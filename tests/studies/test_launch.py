"""The launcher that starts the runs of a study follows from the environment; and how runs are ended."""

import signal
import sys
import threading
import time

import pytest

from bnn_hvd.errors import UserError
from bnn_hvd.studies import launch

SLURM = {"SLURM_JOB_ID": "7"}
PBS = {"PBS_JOBID": "7.server"}
COBALT = {"COBALT_JOBID": "7"}


def words(*args) -> str:
    return " ".join(launch.launcher(*args))


def test_one_machine():
    assert launch.launcher(1, 1, 0, {}) == []
    python, horovodrun, *rest = launch.launcher(4, 1, 0, {})
    assert python == sys.executable
    assert horovodrun.endswith("bin/horovodrun")
    assert rest == ["-np", "4", "--"]


def test_slurm():
    assert words(8, 2, 4, SLURM) == (
        "srun --mpi=pmix --ntasks=8 --nodes=2 --ntasks-per-node=4 --cpus-per-task=2 --cpu-bind=cores "
        "--kill-on-bad-exit=1"
    )
    assert words(6, 0, 0, SLURM) == "srun --mpi=pmix --ntasks=6 --cpu-bind=cores --kill-on-bad-exit=1"
    assert "--nodes=3 --ntasks-per-node=2" in words(6, 0, 0, {**SLURM, "SLURM_NTASKS_PER_NODE": "2"})
    assert "--mpi=cray_shasta" in words(6, 0, 0, {**SLURM, "SRUN_MPI": "cray_shasta"})


def test_one_rank_in_an_allocation_is_launched_too():
    """The study itself may run on a login or service node, which has no compute cores."""
    assert "--ntasks=1 --nodes=1 --ntasks-per-node=1" in words(1, 2, 4, SLURM)
    assert words(1, 2, 4, PBS).startswith("mpiexec -n 1 --ppn 1")
    assert words(1, 2, 4, COBALT).startswith("aprun -n 1 -N 1")


def test_pbs_and_cobalt():
    assert words(8, 2, 4, PBS) == "mpiexec -n 8 --ppn 4 --depth=2 --cpu-bind depth"
    assert words(8, 2, 4, COBALT) == "aprun -n 8 -N 4 -cc depth -d 2 -j 2 -e OMP_NUM_THREADS=2 -b"
    assert words(8, 0, 0, PBS) == "mpiexec -n 8"
    assert words(8, 0, 0, COBALT) == "aprun -n 8 -b"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, 3), ({"OMP_NUM_THREADS": "5"}, 3), (SLURM, 0), ({**SLURM, "SLURM_CPUS_PER_TASK": "5"}, 5),
        ({**PBS, "OMP_NUM_THREADS": "5"}, 5), ({**PBS, "OMP_NUM_THREADS": "4,2"}, 0),
    ],
)  # fmt: skip
def test_threads(environ, expected):
    """With 12 cores and 4 ranks in the largest run, every run has 3 threads per rank, also the smallest."""
    assert launch.threads(environ, most_ranks=4, cores=12) == expected


def test_more_ranks_than_cores_still_have_a_thread():
    assert launch.threads({}, most_ranks=4, cores=2) == 1


def test_output_goes_to_the_log(tmp_path):
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert not launch.run([sys.executable, "-c", code], tmp_path / "log")
    assert set((tmp_path / "log").read_text().split()) == {"out", "err"}


def test_a_launcher_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no_such_launcher can't be started"):
        launch.run(["no_such_launcher"], tmp_path / "log")


def test_a_signal_is_handed_on_and_the_run_is_waited_for(tmp_path):
    code = (
        "import signal, sys, time\n"
        "def save(*_): time.sleep(0.5); print('saved', flush=True); sys.exit(75)\n"
        "signal.signal(signal.SIGUSR1, save); print('ready', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"

    def send():
        while not (log.exists() and "ready" in log.read_text()):
            time.sleep(0.05)
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    assert launch.run([sys.executable, "-c", code], log)
    assert log.read_text().split() == ["ready", "saved"]
