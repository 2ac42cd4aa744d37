"""The launcher and Horovod must agree on the number of ranks; one process imports no Horovod; errors of a job."""

import pytest
import running

pytestmark = pytest.mark.parallel
TRAIN = ("train", "--model=CNN_FC", "--steps=1", "--threads=1")
# With these, Horovod behaves as if built without MPI: it finds no rendezvous server, and assumes one rank.
WITHOUT_MPI = {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo"}


@running.needs_horovodrun
@pytest.mark.parametrize("size", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_n_trainings_of_size_1_are_an_error(tmp_path, size):
    job = running.bnn_hvd(*TRAIN, f"--run={tmp_path / 'run'}", env={size: "2", **WITHOUT_MPI})
    assert job.returncode == 2, job.stderr
    (error,) = running.errors(job.stderr)
    assert error.startswith("bnn_hvd: error: the launcher started 2 ranks, but Horovod sees 1")
    assert "mpicxx" in error
    assert "make install" in error
    assert "Traceback" not in job.stderr
    assert not (tmp_path / "run").exists()


def test_one_process_imports_no_horovod(tmp_path):
    code = (
        "import sys; from bnn_hvd.cli import main; assert main(sys.argv) == 0; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'horovod', 'mpi4py', 'tensorflow', 'keras'}))"
    )
    job = running.python("-c", code, *TRAIN, f"--run={tmp_path / 'run'}", "--dry_run", fresh=True)
    assert job.returncode == 0, job.stderr
    imported = job.stdout.splitlines()[-1]
    assert "'tensorflow'" in imported
    assert "horovod" not in imported
    assert "mpi4py" not in imported


def the_error(job) -> str:
    """Return the error of rank 0. Others print the same one, if the launcher has not ended them before."""
    assert job.returncode != 0
    lines = running.errors(job.stdout + job.stderr)
    (error,) = [line for line in lines if "error on rank" not in line]
    assert all(line.split("error on rank 1: ")[-1] == error.split("error: ", 1)[1] for line in lines if line != error)
    assert "Traceback" not in job.stdout + job.stderr
    return error


@running.needs_horovodrun
def test_an_error_of_all_ranks_is_said_once():
    assert "batch_size" in the_error(running.bnn_hvd("train", "--batchsize=32", ranks=2, fresh=True))


@running.needs_horovodrun
def test_an_error_of_rank_0_alone_ends_the_job(tmp_path):
    """Only rank 0 writes, so only it finds that the run directory can't be made, while the other rank waits for it."""
    (tmp_path / "file").write_text("in the way")
    job = running.bnn_hvd(*TRAIN, f"--run={tmp_path / 'file' / 'run'}", ranks=2, fresh=True)
    assert f"{tmp_path / 'file' / 'run'} can't be written" in the_error(job)
