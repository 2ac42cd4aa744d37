#!/bin/bash
#COBALT -n 2
#COBALT -t 60
#COBALT -O bnn_hvd
#COBALT --attrs mcdram=cache:numa=quad:filesystems=home,eagle
# Cobalt and aprun (Theta): 2 nodes x 4 ranks x 8 threads, 01:00:00. Printed by
#   python -m bnn_hvd job theta
# Submit it from the folder to which the paths of the flagfile and the run directory are relative. Options of qsub
# win over the lines above; `train` gets the flags after the script's name. The script must be executable:
#   qsub [-A project] scripts/submit_theta.sh [--run=runs/another --seed=1]
#
# Cobalt reads directives only right below the first line, so their comments are here:
#   -n nodes; -t minutes after which the job is killed; -q queue; -A project that pays; -O name of the
#   output files; --attrs: the fast memory (MCDRAM) as a cache, and the file systems that must be up

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

# Ranks per node, and threads of each
PPN=4
T=8
# Without this, processes that Python forks can hang in Cray's process manager
export PMI_NO_FORK=1

# Cobalt sends no early signal: at the limit it sends TERM and, seconds later, KILL. So the program has a time
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

#   -n, -N     ranks in all, and on each node; COBALT_JOBSIZE is the number of nodes that Cobalt gave
#   -cc depth  each rank keeps cores of its own: as many as -d says
#   -d, -j 2   that many hardware threads per rank, two on each core
#   -e         the threads of the mathematical libraries
#   -b         do not copy python to the nodes: it is there
aprun -n $((COBALT_JOBSIZE*PPN)) -N $PPN -cc depth -d $T -j 2 -e OMP_NUM_THREADS=$T -b \
    python -m bnn_hvd train --flagfile="$FLAGFILE" --threads="$T" --max_runtime_s="$MAX_RUNTIME_S" "$@" &
CHILD=$!

# A trapped signal ends `wait` before the ranks have ended: then wait again.
while SIGNALLED=""; wait "$CHILD"; CODE=$?; [ -n "$SIGNALLED" ]; do :; done

# Exit codes of the program: 0 finished; 75 stopped early, at a checkpoint; 1 or 2 an error, which the next
# start would repeat. After 75 the same command goes on from the checkpoint.
# To go on, the job submits itself again. Options that were given to qsub by hand are not repeated.
if [ "$CODE" -eq 75 ] && [ -z "$CANCELLED" ] && [ "$RESTARTS" -lt "$MAX_RESTARTS" ]; then
    qsub --env "RESTARTS=$((RESTARTS + 1)):MAX_RESTARTS=$MAX_RESTARTS:FLAGFILE=$FLAGFILE:VENV=$VENV" "$0" "$@" ||
        echo "The run is not finished, and this job could not submit itself again: submit it by qsub." >&2
fi
exit "$CODE"
