"""Cobalt and ALPS: Theta (Cray XC40, KNL) at ALCF, and machines like it."""

from bnn_hvd.jobs.parts import fill
from bnn_hvd.jobs.spec import JobSpec

TEMPLATE = """\
#!/bin/bash
@DIRECTIVES@
# Cobalt and aprun (Theta): @NODES@ nodes x @PPN@ ranks x @THREADS@ threads, @WALLTIME@. Printed by
#   python -m bnn_hvd job theta @COMMAND@
# Submit it from the folder to which the paths of the flagfile and the run directory are relative. Options of qsub
# win over the lines above; `train` gets the flags after the script's name. The script must be executable:
#   qsub [-A project] scripts/submit_theta.sh [--run=runs/another --seed=1]
#
# Cobalt reads directives only right below the first line, so their comments are here:
#   -n nodes; -t minutes after which the job is killed; -q queue; -A project that pays; -O name of the
#   output files; --attrs: the fast memory (MCDRAM) as a cache, and the file systems that must be up

@SETTINGS@
# How often the job has put itself into the queue again; counted below
RESTARTS=${RESTARTS:-0}

# Ranks per node, and threads of each
PPN=@PPN@
T=@THREADS@
# Without this, processes that Python forks can hang in Cray's process manager
export PMI_NO_FORK=1

# Cobalt sends no early signal: at the limit it sends TERM and, seconds later, KILL. So the program has a time
# limit of its own, counted from when it trains: @MARGIN_S@ s are left to start and to write a checkpoint.
MAX_RUNTIME_S=$((@WALLTIME_S@ - @MARGIN_S@))

@RUN@

@CODES@
# To go on, the job submits itself again. Options that were given to qsub by hand are not repeated.
if [ "$CODE" -eq 75 ] && [ -z "$CANCELLED" ] && [ "$RESTARTS" -lt "$MAX_RESTARTS" ]; then
    qsub --env "RESTARTS=$((RESTARTS + 1)):MAX_RESTARTS=$MAX_RESTARTS:FLAGFILE=$FLAGFILE:VENV=$VENV" "$0" "$@" ||
        echo "The run is not finished, and this job could not submit itself again: submit it by qsub." >&2
fi
exit "$CODE"
"""

LAUNCH = """\
#   -n, -N     ranks in all, and on each node; COBALT_JOBSIZE is the number of nodes that Cobalt gave
#   -cc depth  each rank keeps cores of its own: as many as -d says
#   -d, -j 2   that many hardware threads per rank, two on each core
#   -e         the threads of the mathematical libraries
#   -b         do not copy python to the nodes: it is there
aprun -n $((COBALT_JOBSIZE*PPN)) -N $PPN -cc depth -d $T -j 2 -e OMP_NUM_THREADS=$T -b \\
    python -m bnn_hvd train --flagfile="$FLAGFILE" --threads="$T" --max_runtime_s="$MAX_RUNTIME_S" "$@\""""


def script(spec: JobSpec) -> str:
    """Return the text of the Cobalt script.

    Raises:
      UserError: GPUs are asked for.
    """
    spec.refuse("gpus_per_node", "Cobalt gives the GPUs of a node with its queue, --queue")
    return fill(TEMPLATE, spec, LAUNCH=LAUNCH, DIRECTIVES="\n".join(directives(spec)))


def directives(spec: JobSpec) -> list[str]:
    """Return the #COBALT lines of the values that are given."""
    attributes = "mcdram=cache:numa=quad"
    if spec.filesystems:
        attributes += ":filesystems=" + spec.filesystems.replace(":", ",")
    values = {
        "-n": spec.nodes, "-t": spec.walltime_minutes, "-q": spec.queue, "-A": spec.account, "-O": spec.name,
        "--attrs": attributes,
    }  # fmt: skip
    return [f"#COBALT {option} {value}" for option, value in values.items() if value]
