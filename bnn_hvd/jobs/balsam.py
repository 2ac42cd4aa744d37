"""Balsam 2: one run as a Balsam job, and a BatchJob that runs it (scripts/balsam/ has sweeps)."""

from bnn_hvd.jobs.parts import fill
from bnn_hvd.jobs.spec import JobSpec

TEMPLATE = """\
#!/bin/bash
# Balsam 2: @NODES@ nodes x @PPN@ ranks x @THREADS@ threads, @WALLTIME@. Printed by
#   python -m bnn_hvd job balsam @COMMAND@
# Run it on the login node, in Balsam's own environment and in the folder of the Balsam site, after
# scripts/balsam/app.py has told the site what bnn_hvd is (scripts/balsam/README.md).
set -euo pipefail

# Flags of the training, one a line; a full path, because the job runs in a folder of its own
FLAGFILE=${FLAGFILE:-@FLAGFILE@}
FLAGFILE=$(readlink -f -- "$FLAGFILE")

# The job: its folder below the site's data/, in which the run directory `run` will be; the application
# that app.py registered; its size, which Balsam turns into the site's launcher line.
balsam job create --yes --workdir=@NAME@ --app=TrainBNN --tag name=@NAME@ \\
    --param flagfile="$FLAGFILE" --param threads=@THREADS@ \\
    --num-nodes=@NODES@ --ranks-per-node=@PPN@ --threads-per-rank=@THREADS@

# The BatchJob: nodes from the scheduler, for jobs with this tag. A run that the walltime stops goes on, in
# its folder, in the next BatchJob: repeat this line.
balsam queue submit --num-nodes=@NODES@ --wall-time-min=@MINUTES@ --job-mode=mpi --tag name=@NAME@ \\
    --queue=@QUEUE@ --project=@ACCOUNT@
"""


def script(spec: JobSpec) -> str:
    """Return the text of a script that submits one run through the `balsam` command."""
    return fill(TEMPLATE, spec, QUEUE=spec.queue or "default", ACCOUNT=spec.account or "local")
