"""The errors that a user is meant to see, each with the exit code that a job script can test."""


class UserError(ValueError):
    """A mistake in a flag or a file: one sentence that says what is wrong and the way out."""

    exit_code = 2


class TrainingError(RuntimeError):
    """Training cannot go on (a non-finite loss, ranks that disagree); the last checkpoint stays."""

    exit_code = 1


# sysexits.h's EX_TEMPFAIL: "try again later". A run that stopped early at a checkpoint, on a signal
# or at --max_runtime_s, ends with it; a job script requeues on it.
EXIT_INTERRUPTED = 75
