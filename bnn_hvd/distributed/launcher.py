"""The environment variables that the launcher (mpirun, mpiexec, srun, aprun, horovodrun) sets for each rank."""

import os

# The first that is set wins: a launcher inside the allocation of another one comes before it. SLURM_NTASKS is
# not here: inside an sbatch script, processes that srun did not start have it, too.
SIZE = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
RANK = ("OMPI_COMM_WORLD_RANK", "HOROVOD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "PALS_RANKID", "ALPS_APP_PE",
        "PMIX_RANK")  # fmt: skip


def world_size() -> int | None:
    """Return the number of ranks that the launcher started, None if no variable says it."""
    return _first(SIZE)


def world_rank() -> int:
    """Return the rank of this process, 0 if no variable says it."""
    return _first(RANK + (("SLURM_PROCID",) if "SLURM_STEP_NUM_TASKS" in os.environ else ())) or 0


def started_by_launcher() -> bool:
    return any(name in os.environ for name in SIZE + RANK)


def _first(names: tuple[str, ...]) -> int | None:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), None)
