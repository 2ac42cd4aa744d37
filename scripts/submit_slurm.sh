#!/bin/bash
# Slurm: 2 nodes x 4 ranks x 8 threads, 01:00:00. Printed by
#   python -m bnn_hvd job slurm
# Submit it from the folder to which the paths of the flagfile and the run directory are relative. Options of
# sbatch win over the lines below; `train` gets the flags after the script's name:
#   sbatch [--nodes=4] scripts/submit_slurm.sh [--run=runs/another --seed=1]

# The name in the queue
#SBATCH --job-name=bnn_hvd
# Nodes
#SBATCH --nodes=2
# Ranks per node
#SBATCH --ntasks-per-node=4
# Cores for each rank: its threads
#SBATCH --cpus-per-task=8
# GPUs on each node: none; ask for 4 by `--gpus-per-node=4` here or at submission
# Time after which the job is killed
#SBATCH --time=01:00:00
# The partition: the scheduler's default; give another by `--partition=...` here or at submission
# The project that pays: the scheduler's default; give another by `--account=...` here or at submission
# 120 s before that, Slurm sends USR1 to this script (B:), not to the ranks: see the trap
#SBATCH --signal=B:USR1@120
# The job may be started again: by itself (below), after a node failure, after a preemption
#SBATCH --requeue
# Each start appends its output to one file
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# File with the flags of the training, one per line
FLAGFILE=${FLAGFILE:-configs/quickstart.cfg}
# Virtual environment with bnn_hvd; skipped if it does not exist
VENV=${VENV:-.venv}
# How often the job may put itself into the queue again
MAX_RESTARTS=${MAX_RESTARTS:-20}

# `module load` and the like stand here; `job --setup=FILE` fills them in
if [ -f "$VENV/bin/activate" ]; then
    . "$VENV/bin/activate"
fi
# Python writes each line of the log at once
export PYTHONUNBUFFERED=1
# Where Open MPI's mpirun starts the ranks: it ends the job half a minute after a host or the network is lost
export OMPI_MCA_oob_tcp_keepalive_time=10
export OMPI_MCA_oob_tcp_keepalive_intvl=5
export OMPI_MCA_oob_tcp_keepalive_probes=4
# How srun starts MPI: the plugin that the site's MPI was built for, from `srun --mpi=list`
SRUN_MPI=${SRUN_MPI:-pmix}
# Threads of each rank: as many as it has cores
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

# This script passes a signal on to the launcher, which passes it on to each rank. The ranks agree on a step,
# rank 0 writes a checkpoint, and the program ends with exit code 75.
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

#   --cpus-per-task   again, because since Slurm 22.05 srun does not inherit it from sbatch
#   --cpu-bind=cores  each rank keeps its own cores; the program sees them and starts as many threads
#   --wait=30         30 s after the first rank has ended, with or without an error, srun ends the others
# No --max_runtime_s: the scheduler sends the signal in time, also with another `sbatch --time`.
srun --mpi="$SRUN_MPI" --cpus-per-task="$OMP_NUM_THREADS" --cpu-bind=cores --wait=30 \
    python -m bnn_hvd train --flagfile="$FLAGFILE" --threads="$OMP_NUM_THREADS" "$@" &
CHILD=$!

# A trapped signal ends `wait` before the ranks have ended: then wait again.
while SIGNALLED=""; wait "$CHILD"; CODE=$?; [ -n "$SIGNALLED" ]; do :; done

# Exit codes of the program: 0 finished; 75 stopped early, at a checkpoint; 1 or 2 an error, which the next
# start would repeat. After 75 the same command goes on from the checkpoint.
# `scontrol requeue` puts this job into the queue again, with its id and output file, unless it was cancelled.
if [ "$CODE" -eq 75 ] && [ -z "$CANCELLED" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$MAX_RESTARTS" ] &&
    [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$CODE"
