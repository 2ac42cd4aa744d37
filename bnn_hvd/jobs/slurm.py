"""Slurm: sbatch and srun."""

from bnn_hvd.jobs.parts import directive, fill
from bnn_hvd.jobs.spec import JobSpec

TEMPLATE = """\
#!/bin/bash
# Slurm: @NODES@ nodes x @PPN@ ranks x @THREADS@ threads, @WALLTIME@. Printed by
#   python -m bnn_hvd job slurm @COMMAND@
# Submit it from the folder to which the paths of the flagfile and the run directory are relative. Options of
# sbatch win over the lines below; `train` gets the flags after the script's name:
#   sbatch [--nodes=4] scripts/submit_slurm.sh [--run=runs/another --seed=1]

# The name in the queue
#SBATCH --job-name=@NAME@
# Nodes
#SBATCH --nodes=@NODES@
# Ranks per node
#SBATCH --ntasks-per-node=@PPN@
# Cores for each rank: its threads
#SBATCH --cpus-per-task=@THREADS@
@GPUS@
# Time after which the job is killed
#SBATCH --time=@WALLTIME@
@QUEUE@
@ACCOUNT@
# 120 s before that, Slurm sends USR1 to this script (B:), not to the ranks: see the trap
#SBATCH --signal=B:USR1@120
# The job may be started again: by itself (below), after a node failure, after a preemption
#SBATCH --requeue
# Each start appends its output to one file
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

@SETTINGS@
# How srun starts MPI: the plugin that the site's MPI was built for, from `srun --mpi=list`
SRUN_MPI=${SRUN_MPI:-pmix}
# Threads of each rank: as many as it has cores
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

@RUN@

@CODES@
# `scontrol requeue` puts this job into the queue again, with its id and output file, unless it was cancelled.
if [ "$CODE" -eq 75 ] && [ -z "$CANCELLED" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$MAX_RESTARTS" ] &&
    [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$CODE"
"""

LAUNCH = """\
#   --cpus-per-task   again, because since Slurm 22.05 srun does not inherit it from sbatch
#   --cpu-bind=cores  each rank keeps its own cores; the program sees them and starts as many threads
#   --wait=30         30 s after the first rank has ended, with or without an error, srun ends the others
# No --max_runtime_s: the scheduler sends the signal in time, also with another `sbatch --time`.
srun --mpi="$SRUN_MPI" --cpus-per-task="$OMP_NUM_THREADS" --cpu-bind=cores --wait=30 \\
    python -m bnn_hvd train --flagfile="$FLAGFILE" --threads="$OMP_NUM_THREADS" "$@\""""


def script(spec: JobSpec) -> str:
    """Return the text of the sbatch script."""
    return fill(
        TEMPLATE, spec, LAUNCH=LAUNCH,
        GPUS=gpus(spec),
        QUEUE=directive("#SBATCH", "--partition=", spec.queue, "The partition"),
        ACCOUNT=directive("#SBATCH", "--account=", spec.account, "The project that pays"),
    )  # fmt: skip


def gpus(spec: JobSpec) -> str:
    """Return the directive that asks for GPUs, or a comment that says how to ask for them."""
    if spec.gpus_per_node:
        return f"# GPUs on each node; its ranks take one each, in turn\n#SBATCH --gpus-per-node={spec.gpus_per_node}"
    return "# GPUs on each node: none; ask for 4 by `--gpus-per-node=4` here or at submission"
