"""The errors that a user sees, each with an exit code that a job script can test."""


class UserError(ValueError):
    """A mistake in a flag or a file: one sentence that says what is wrong and the way out."""

    exit_code = 2


class TrainingError(RuntimeError):
    """Training cannot go on (a non-finite loss, ranks that disagree); the last checkpoint stays."""

    exit_code = 1


# EX_TEMPFAIL of sysexits.h: "try again later". A run that stops early at a checkpoint, on a signal or at
# --max_runtime_s, exits with this code; a job script then requeues the job.
EXIT_INTERRUPTED = 75

# 128 + SIGINT, as a shell reports it: Ctrl-C where there is no checkpoint to stop at.
EXIT_CTRL_C = 130
