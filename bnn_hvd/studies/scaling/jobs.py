"""The runs of a scaling study: every model on every number of ranks."""

import os
from typing import Any

from bnn_hvd import config as flags
from bnn_hvd import registry
from bnn_hvd.config import ScaleConfig, lists
from bnn_hvd.errors import UserError
from bnn_hvd.studies import launch
from bnn_hvd.studies.runs import Job, run_flags


def jobs(config: ScaleConfig) -> list[Job]:
    """Return the runs in the order to train them: all models and ranks, then all again.

    In turns, because a machine that others use is slower in one hour than in the next.
    """
    models = [registry.known(registry.MODELS, name, "model in --models:") for name in lists.words(config.models)]
    counts = lists.counts(config.ranks, "--ranks")
    threads = config.train["threads"] or launch.threads(os.environ, max(counts), os.cpu_count() or 1)
    return [
        Job(ranks, flags.resolve(**run_flags(
            config, f"{model}_{ranks}ranks_{repeat}", model=model, threads=threads, **shared_batch(config, ranks)
        )))
        for repeat in range(config.repeats)
        for ranks in counts
        for model in models
    ]  # fmt: skip


def shared_batch(config: ScaleConfig, ranks: int) -> dict[str, Any]:
    """Return the flags by which the ranks divide the global batch under strong scaling, {} under weak.

    Raises:
      UserError: they can't share it equally.
    """
    if config.mode.lower() != "strong":
        return {}
    global_batch_size = config.train["batch_size"]
    if global_batch_size % ranks:
        raise UserError(
            f"--batch_size={global_batch_size} can't be divided among {ranks} ranks, as strong scaling does: give a "
            "multiple of every number in --ranks, or --mode=weak"
        )
    # The learning rate goes with the global batch, and that stays.
    return {"batch_size": global_batch_size // ranks, "lr_scaling": "none"}
