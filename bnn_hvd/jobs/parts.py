"""The parts that the job scripts share, and how a script is filled in.

Scripts are written as they will be read, with @NAME@ where a value goes, for `$` and braces are bash's.
"""

import re
import shlex

from bnn_hvd.jobs.spec import JobSpec, hh_mm_ss

NAME = re.compile(r"@([A-Z_]+)@")

# Settings that a submission may override, and the environment.
SETTINGS = """\
# Flags of the training, one a line
FLAGFILE=${FLAGFILE:-@FLAGFILE@}
# Virtual environment with bnn_hvd; skipped where there is none
VENV=${VENV:-.venv}
# How often the job may put itself into the queue again
MAX_RESTARTS=${MAX_RESTARTS:-20}

if [ -f "$VENV/bin/activate" ]; then
    . "$VENV/bin/activate"
fi
# Lines of the log appear when they are written
export PYTHONUNBUFFERED=1
"""

# @LAUNCH@ runs in the background because bash handles a signal at once only while it `wait`s. USR1 and not TERM
# goes to the launchers: on a TERM of their own, some kill the ranks before these have written anything.
RUN = """\
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

@LAUNCH@ &
CHILD=$!

# A trapped signal ends `wait` before the ranks have ended: wait again, until it was the ranks.
while SIGNALLED=""; wait "$CHILD"; CODE=$?; [ -n "$SIGNALLED" ]; do :; done
"""

CODES = """\
# Exit codes of the program: 0 finished; 75 stopped early at a checkpoint, go on; 1 or 2 an error,
# which the next start would only repeat. Started again on its run directory, it goes on by itself."""


def fill(template: str, spec: JobSpec, **parts: str) -> str:
    """Return `template` with every @NAME@ replaced: by a part (which may have names, too) or a value of `spec`.

    Raises:
      KeyError: the template has a name that nobody gave.
    """
    parts = {"SETTINGS": SETTINGS.rstrip(), "RUN": RUN.rstrip(), "CODES": CODES} | parts
    text = NAME.sub(lambda match: parts.get(match[1], match[0]), template)
    text = NAME.sub(lambda match: parts.get(match[1], match[0]), text)  # parts of parts
    filled = NAME.sub(lambda match: values(spec)[match[1]], text)
    return "".join(line.rstrip() + "\n" for line in filled.splitlines())


def values(spec: JobSpec) -> dict[str, str]:
    """Return what the @NAME@s of a spec stand for."""
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
    }


def directive(prefix: str, option: str, value: str, meaning: str) -> str:
    """Return a comment and a directive; with an empty value, a comment that says how to give one."""
    if value:
        return f"# {meaning}\n{prefix} {option}{value}"
    return f"# {meaning}: not given, so the scheduler's default (`{option}...` here or at submission)"
