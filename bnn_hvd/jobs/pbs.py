"""PBS Professional with Cray's PALS: Polaris and Aurora at ALCF, and machines like them."""

from bnn_hvd.jobs.parts import directive, fill
from bnn_hvd.jobs.spec import JobSpec

TEMPLATE = """\
#!/bin/bash
# PBS (Polaris, Aurora): @NODES@ nodes x @PPN@ ranks x @THREADS@ threads, @WALLTIME@. Printed by
#   python -m bnn_hvd job pbs @COMMAND@
# Submit it from the folder to which the paths of the flagfile and the run directory are relative. -v sets the
# variables below:
#   qsub [-v FLAGFILE=configs/another.cfg] scripts/submit_pbs.sh

# The name in the queue
#PBS -N @NAME@
@SELECT@
# One job at a time on a node, each chunk on a node of its own
#PBS -l place=scatter:excl
# Time after which the job is killed
#PBS -l walltime=@WALLTIME@
@FILESYSTEMS@
@QUEUE@
@ACCOUNT@
# PBS may start the job again after a node failed or after a preemption
#PBS -r y
# Errors and output in one file
#PBS -j oe

# PBS starts in the home folder; this is where qsub was called
cd "${PBS_O_WORKDIR:-.}" || exit 2

@SETTINGS@
# How often the job has put itself into the queue again; counted below
RESTARTS=${RESTARTS:-0}
# Threads of each rank, ranks per node, and number of nodes, from the file in which PBS lists them
export OMP_NUM_THREADS=@THREADS@
PPN=@PPN@
NODES=$(sort -u "$PBS_NODEFILE" | wc -l)

# PBS sends no early signal: at the walltime it sends TERM and, seconds later, KILL. So the program has a time
# limit of its own, counted from when it trains: @MARGIN_S@ s are left to start and to write a checkpoint.
MAX_RUNTIME_S=$((@WALLTIME_S@ - @MARGIN_S@))

@RUN@

@CODES@
# To go on, the job submits itself again: only operators of PBS may requeue it by `qrerun`.
# $0 is the copy of this script that PBS runs. Options that were given to qsub by hand are not repeated.
if [ "$CODE" -eq 75 ] && [ -z "$CANCELLED" ] && [ "$RESTARTS" -lt "$MAX_RESTARTS" ]; then
    qsub -v "RESTARTS=$((RESTARTS + 1)),MAX_RESTARTS=$MAX_RESTARTS,FLAGFILE=$FLAGFILE,VENV=$VENV" "$0" ||
        echo "The run is not finished, and this job could not submit itself again: submit it by qsub." >&2
fi
exit "$CODE"
"""

LAUNCH = """\
#   -n, --ppn            ranks in all, and on each node
#   --depth, --cpu-bind  each rank keeps @THREADS@ cores of its own; the program starts as many threads
mpiexec -n $((NODES * PPN)) --ppn "$PPN" --depth="$OMP_NUM_THREADS" --cpu-bind depth \\
    python -m bnn_hvd train --flagfile="$FLAGFILE" --threads="$OMP_NUM_THREADS" \\
    --max_runtime_s="$MAX_RUNTIME_S" "$@\""""


def script(spec: JobSpec) -> str:
    """Return the text of the PBS script."""
    return fill(
        TEMPLATE, spec, LAUNCH=LAUNCH,
        SELECT=select(spec),
        FILESYSTEMS=directive(
            "#PBS", "-l filesystems=", spec.filesystems,
            "The file systems that must be up (Polaris: home:eagle, Aurora: home:flare)",
        ),
        QUEUE=directive("#PBS", "-q ", spec.queue, "The queue"),
        ACCOUNT=directive("#PBS", "-A ", spec.account, "The project that pays"),
    )  # fmt: skip


def select(spec: JobSpec) -> str:
    """Return the directive that asks for the nodes, each a chunk, and for the GPUs of each."""
    if spec.gpus_per_node:
        chunk = f"@NODES@:ngpus={spec.gpus_per_node}"
        return f"# Nodes, and GPUs on each; its ranks take one each, in turn\n#PBS -l select={chunk}"
    return "# Nodes, without GPUs; `select=@NODES@:ngpus=4` asks for 4 on each\n#PBS -l select=@NODES@"
