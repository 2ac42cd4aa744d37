"""Balsam 2: a script that submits one run as a Balsam job, and a BatchJob for it (scripts/balsam/ has sweeps)."""

from bnn_hvd.jobs.parts import fill
from bnn_hvd.jobs.spec import JobSpec

TEMPLATE = """\
#!/bin/bash
# Balsam 2: @NODES@ nodes x @PPN@ ranks x @THREADS@ threads, @WALLTIME@. Printed by
#   python -m bnn_hvd job balsam @COMMAND@
# Run it on the login node, in Balsam's own environment and in the folder of the Balsam site, after
# scripts/balsam/app.py has registered the application there (scripts/balsam/README.md).
set -euo pipefail

# File with the flags of the training, one per line; a full path, because the job runs in a folder of its own
FLAGFILE=${FLAGFILE:-@FLAGFILE@}
FLAGFILE=$(readlink -f -- "$FLAGFILE")

# The job. --workdir is its folder below the site's data/, where training makes the run directory `run`; --app is
# the application that app.py registered; from the last line Balsam makes the command of the site's launcher.
balsam job create --yes --workdir=@NAME@ --app=TrainBNN --tag name=@NAME@ \\
    --param flagfile="$FLAGFILE" --param threads=@THREADS@ \\
    --num-nodes=@NODES@ --ranks-per-node=@PPN@ --threads-per-rank=@THREADS@

# The BatchJob asks the scheduler for nodes, for the jobs with this tag. If the walltime stops the run, repeat this
# line: the run goes on in the next BatchJob.
balsam queue submit --num-nodes=@NODES@ --wall-time-min=@MINUTES@ --job-mode=mpi --tag name=@NAME@ \\
    --queue=@QUEUE@ --project=@ACCOUNT@
"""


def script(spec: JobSpec) -> str:
    """Return the text of a script that submits one run through the `balsam` command.

    Raises:
      UserError: GPUs or setup lines are asked for.
    """
    spec.refuse("gpus_per_node", "this script asks for whole nodes, with what is in them")
    spec.refuse("setup", "jobs of Balsam get their environment from the application: see scripts/balsam/app.py")
    return fill(TEMPLATE, spec, QUEUE=spec.queue or "default", ACCOUNT=spec.account or "local")
