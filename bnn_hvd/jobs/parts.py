"""The parts that the job scripts share, and the filling of their placeholders.

A placeholder is @NAME@, because `$` and braces have a meaning in bash.
"""

import re
import shlex

from bnn_hvd.jobs.openmpi import EXPORTS
from bnn_hvd.jobs.spec import JobSpec, hh_mm_ss

NAME = re.compile(r"@([A-Z_]+)@")

# Variables that a submission may set, and the environment.
SETTINGS = """\
# File with the flags of the training, one per line
FLAGFILE=${FLAGFILE:-@FLAGFILE@}
# Virtual environment with bnn_hvd; skipped if it does not exist
VENV=${VENV:-.venv}
# How often the job may put itself into the queue again
MAX_RESTARTS=${MAX_RESTARTS:-20}

@SETUP@
if [ -f "$VENV/bin/activate" ]; then
    . "$VENV/bin/activate"
fi
# Python writes each line of the log at once
export PYTHONUNBUFFERED=1
@OPEN_MPI@
"""

# @LAUNCH@ runs in the background, because bash handles a signal at once only while it `wait`s. The launchers get
# USR1 and not TERM: on TERM some of them kill the ranks before these have written a checkpoint.
RUN = """\
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

@LAUNCH@ &
CHILD=$!

# A trapped signal ends `wait` before the ranks have ended: then wait again.
while SIGNALLED=""; wait "$CHILD"; CODE=$?; [ -n "$SIGNALLED" ]; do :; done
"""

CODES = """\
# Exit codes of the program: 0 finished; 75 stopped early, at a checkpoint; 1 or 2 an error, which the next
# start would repeat. After 75 the same command goes on from the checkpoint."""


def fill(template: str, spec: JobSpec, **parts: str) -> str:
    """Return `template` with each @NAME@ replaced by a part or by a value of `spec`; parts may hold names, too.

    Raises:
      KeyError: the template has another name.
    """
    parts = {"SETTINGS": SETTINGS.rstrip(), "RUN": RUN.rstrip(), "CODES": CODES, "OPEN_MPI": EXPORTS} | parts
    text = NAME.sub(lambda match: parts.get(match[1], match[0]), template)
    text = NAME.sub(lambda match: parts.get(match[1], match[0]), text)  # parts of parts
    filled = NAME.sub(lambda match: values(spec)[match[1]], text)
    return "".join(line.rstrip() + "\n" for line in filled.splitlines())


def values(spec: JobSpec) -> dict[str, str]:
    """Return the values of a spec by @NAME@."""
    return {
        "NODES": str(spec.nodes),
        "PPN": str(spec.ranks_per_node),
        "THREADS": str(spec.threads_per_rank),
        "WALLTIME": hh_mm_ss(spec.walltime_s),
        "WALLTIME_S": str(spec.walltime_s),
        "MINUTES": str(spec.walltime_minutes),
        "MARGIN_S": str(spec.margin_s),
        "NAME": spec.name,
        "FLAGFILE": shlex.quote(spec.flagfile),
        "COMMAND": spec.command,
        "SETUP": setup(spec),
    }


def setup(spec: JobSpec) -> str:
    """Return the lines of the setup file below a comment; without a file, a comment that says how to give one."""
    if not spec.setup:
        return "# `module load` and the like stand here; `job --setup=FILE` fills them in"
    return "\n".join([f"# From {spec.setup}:", *spec.setup_lines, ""])


def directive(prefix: str, option: str, value: str, meaning: str) -> str:
    """Return a comment and a directive; without a value, a comment that says how to give one."""
    if value:
        return f"# {meaning}\n{prefix} {option}{value}"
    return f"# {meaning}: the scheduler's default; give another by `{option}...` here or at submission"
