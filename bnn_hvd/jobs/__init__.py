"""The verb `job`: prints a job script. A scheduler is one file, with a function from a JobSpec to text, and one row."""

import dataclasses

from bnn_hvd.config import JobConfig
from bnn_hvd.errors import UserError
from bnn_hvd.jobs import balsam, pbs, slurm, theta
from bnn_hvd.jobs.spec import JobSpec

SCHEDULERS = {"theta": theta.script, "pbs": pbs.script, "slurm": slurm.script, "balsam": balsam.script}


def main(config: JobConfig) -> int:
    """Print the script; returns the exit code.

    Raises:
      UserError: no scheduler is given.
    """
    if not config.scheduler:
        raise UserError(f"give a scheduler: python -m bnn_hvd job {{{'|'.join(SCHEDULERS)}}}")
    print(SCHEDULERS[config.scheduler.lower()](spec_of(config)), end="")
    return 0


def spec_of(config: JobConfig) -> JobSpec:
    return JobSpec(**{field.name: getattr(config, field.name) for field in dataclasses.fields(JobSpec)})
