#!/bin/bash
# PBS (Polaris, Aurora): 2 nodes x 4 ranks x 8 threads, 01:00:00. Printed by
#   python -m bnn_hvd job pbs
# Submit it from the folder to which the paths of the flagfile and the run directory are relative. -v sets the
# variables below:
#   qsub [-v FLAGFILE=configs/another.cfg] scripts/submit_pbs.sh

# The name in the queue
#PBS -N bnn_hvd
# Nodes, without GPUs; `select=2:ngpus=4` asks for 4 on each
#PBS -l select=2
# One job at a time on a node, each chunk on a node of its own
#PBS -l place=scatter:excl
# Time after which the job is killed
#PBS -l walltime=01:00:00
# The file systems that must be up (Polaris: home:eagle, Aurora: home:flare)
#PBS -l filesystems=home:eagle
# The queue: the scheduler's default; give another by `-q ...` here or at submission
# The project that pays: the scheduler's default; give another by `-A ...` here or at submission
# PBS may start the job again after a node failed or after a preemption
#PBS -r y
# Errors and output in one file
#PBS -j oe

# PBS starts in the home folder; this is where qsub was called
cd "${PBS_O_WORKDIR:-.}" || exit 2

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
# How often the job has put itself into the queue again; counted below
RESTARTS=${RESTARTS:-0}
# Threads of each rank, ranks per node, and number of nodes, from the file in which PBS lists them
export OMP_NUM_THREADS=8
PPN=4
NODES=$(sort -u "$PBS_NODEFILE" | wc -l)

# PBS sends no early signal: at the walltime it sends TERM and, seconds later, KILL. So the program has a time
# limit of its own, counted from when it trains: 360 s are left to start and to write a checkpoint.
MAX_RUNTIME_S=$((3600 - 360))

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

#   -n, --ppn            ranks in all, and on each node
#   --depth, --cpu-bind  each rank keeps 8 cores of its own; the program starts as many threads
mpiexec -n $((NODES * PPN)) --ppn "$PPN" --depth="$OMP_NUM_THREADS" --cpu-bind depth \
    python -m bnn_hvd train --flagfile="$FLAGFILE" --threads="$OMP_NUM_THREADS" \
    --max_runtime_s="$MAX_RUNTIME_S" "$@" &
CHILD=$!

# A trapped signal ends `wait` before the ranks have ended: then wait again.
while SIGNALLED=""; wait "$CHILD"; CODE=$?; [ -n "$SIGNALLED" ]; do :; done

# Exit codes of the program: 0 finished; 75 stopped early, at a checkpoint; 1 or 2 an error, which the next
# start would repeat. After 75 the same command goes on from the checkpoint.
# To go on, the job submits itself again: only operators of PBS may requeue it by `qrerun`.
# $0 is the copy of this script that PBS runs. Options that were given to qsub by hand are not repeated.
if [ "$CODE" -eq 75 ] && [ -z "$CANCELLED" ] && [ "$RESTARTS" -lt "$MAX_RESTARTS" ]; then
    qsub -v "RESTARTS=$((RESTARTS + 1)),MAX_RESTARTS=$MAX_RESTARTS,FLAGFILE=$FLAGFILE,VENV=$VENV" "$0" ||
        echo "The run is not finished, and this job could not submit itself again: submit it by qsub." >&2
fi
exit "$CODE"
