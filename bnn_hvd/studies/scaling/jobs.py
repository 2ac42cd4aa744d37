"""The runs of a scaling study: each model on each number of ranks."""

import os
from typing import Any

from bnn_hvd import config as flags
from bnn_hvd import registry
from bnn_hvd.config import ScaleConfig, lists
from bnn_hvd.errors import UserError
from bnn_hvd.studies import launch
from bnn_hvd.studies.runs import Job, check_used, run_flags


def jobs(config: ScaleConfig) -> list[Job]:
    """Return the runs in the order of training: each model on each number of ranks, then all of them again.

    The repeats of a run are spread over the study, because other programs may slow the machine down for a while.
    """
    models = [registry.known(registry.MODELS, name, "model in --models:") for name in lists.words(config.models)]
    counts = lists.counts(config.ranks, "--ranks")
    threads = config.train["threads"] or launch.threads(os.environ, max(counts), os.cpu_count() or 1)
    found = [
        Job(ranks, flags.resolve_used(**run_flags(
            config, f"{model}_{ranks}ranks_{repeat}", model=model, threads=threads, **shared_batch(config, ranks)
        )))
        for repeat in range(config.repeats)
        for ranks in counts
        for model in models
    ]  # fmt: skip
    check_used(config.given, found)
    return found


def shared_batch(config: ScaleConfig, ranks: int) -> dict[str, Any]:
    """Return the flags by which the ranks divide the global batch under strong scaling; {} under weak scaling.

    Raises:
      UserError: the ranks can't divide it equally.
    """
    if config.mode.lower() != "strong":
        return {}
    global_batch_size = config.train["batch_size"]
    if global_batch_size % ranks:
        raise UserError(
            f"--batch_size={global_batch_size} can't be divided among {ranks} ranks, as strong scaling does: give a "
            "multiple of every number in --ranks, or --mode=weak"
        )
    # The learning rate is scaled with the global batch, which stays the same.
    return {"batch_size": global_batch_size // ranks, "lr_scaling": "none"}
