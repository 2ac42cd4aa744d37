#!/bin/bash
# Slurm: 2 nodes x 4 ranks x 8 threads, 01:00:00. Printed by
#   python -m bnn_hvd job slurm
# Submit it from the folder that the flagfile and the run directory are relative to; options of sbatch
# win over the lines below, and what follows the script's name is handed to `train`:
#   sbatch [--nodes=4] scripts/submit_slurm.sh [--run=runs/another --seed=1]

# The name in the queue
#SBATCH --job-name=bnn_hvd
# Nodes
#SBATCH --nodes=2
# Ranks on each of them
#SBATCH --ntasks-per-node=4
# Cores for each rank: its threads
#SBATCH --cpus-per-task=8
# Time after which the job is killed
#SBATCH --time=01:00:00
# The partition: not given, so the scheduler's default (`--partition=...` here or at submission)
# The project that pays: not given, so the scheduler's default (`--account=...` here or at submission)
# 120 s before that, send USR1 to this script (B:), not to the ranks: see the trap
#SBATCH --signal=B:USR1@120
# The job may be started again: by itself (below), after a node failed, after a preemption
#SBATCH --requeue
# The output of the next start goes after that of the last one, into one file
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# Flags of the training, one a line
FLAGFILE=${FLAGFILE:-configs/quickstart.cfg}
# Virtual environment with bnn_hvd; skipped where there is none
VENV=${VENV:-.venv}
# How often the job may put itself into the queue again
MAX_RESTARTS=${MAX_RESTARTS:-20}

if [ -f "$VENV/bin/activate" ]; then
    . "$VENV/bin/activate"
fi
# Lines of the log appear when they are written
export PYTHONUNBUFFERED=1
# How srun starts MPI: the plugin that the site's MPI was built for, from `srun --mpi=list`
SRUN_MPI=${SRUN_MPI:-pmix}
# Threads of each rank: the cores that it was given
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

# A signal to this script is handed on to the launcher, which hands it to every rank. Each notes it,
# all agree on a step, rank 0 writes a checkpoint, and the program ends with exit code 75.
CHILD="" CANCELLED=""
hand_on() {
    [ -n "$CHILD" ] || return
    trap "" USR1  # once is enough: bash can lose the exit code of a child that ends during one more signal
    SIGNALLED=yes
    kill -USR1 "$CHILD" 2>/dev/null
}
trap hand_on USR1
# TERM: the user or the scheduler ends this job. Save, but do not put it into the queue again
trap 'trap "" TERM; CANCELLED=yes; hand_on' TERM

#   --cpus-per-task   again, because srun no longer inherits it from sbatch (since Slurm 22.05)
#   --cpu-bind=cores  each rank keeps its own cores; the program sees them and starts as many threads
#   --wait=30         30 s after the first rank has ended, however it did, end the others
# No --max_runtime_s: the signal comes from the scheduler itself, so it stays right with `sbatch --time`.
srun --mpi="$SRUN_MPI" --cpus-per-task="$OMP_NUM_THREADS" --cpu-bind=cores --wait=30 \
    python -m bnn_hvd train --flagfile="$FLAGFILE" --threads="$OMP_NUM_THREADS" "$@" &
CHILD=$!

# A trapped signal ends `wait` before the ranks have ended: wait again, until it was the ranks.
while SIGNALLED=""; wait "$CHILD"; CODE=$?; [ -n "$SIGNALLED" ]; do :; done

# Exit codes of the program: 0 finished; 75 stopped early at a checkpoint, go on; 1 or 2 an error,
# which the next start would only repeat. Started again on its run directory, it goes on by itself.
# `scontrol requeue` puts this same job (id, output file) into the queue again; not one that was cancelled.
if [ "$CODE" -eq 75 ] && [ -z "$CANCELLED" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$MAX_RESTARTS" ] &&
    [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$CODE"
