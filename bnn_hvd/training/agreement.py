"""What all ranks agree on between two calls of the loop: whether to stop, and that all numbers are finite."""

from typing import NamedTuple

import numpy as np

from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import TrainingError
from bnn_hvd.inference.method import State


class Outcome(NamedTuple):
    """What one call of the loop gave on this rank. Legend: T steps."""

    steps_before: int  # of the run
    loss_here_T: np.ndarray
    step_s: float  # seconds per step
    stop: bool  # this rank was asked to stop


def agree(here: Outcome, ranks: Cluster, way_out: str = "") -> tuple[bool, float]:
    """Return whether any rank was asked to stop, and the seconds per step of the slowest rank, in one all-reduce.

    way_out: advice to the user, at the end of the error message.

    Raises:
      TrainingError: the loss of some rank is not finite; it names the first such step and its rank.
    """
    bad = np.flatnonzero(~np.isfinite(here.loss_here_T))
    some_bad, stopping, slowest_s = ranks.max([len(bad) > 0, here.stop, here.step_s])
    if not some_bad:
        return bool(stopping), slowest_s
    step, rank = min((int(first), rank) for rank, first in enumerate(ranks.gather(bad[0] if len(bad) else 1e9)))
    raise TrainingError(
        f"the loss is not finite at step {here.steps_before + step + 1} on rank {rank}; "
        f"the last checkpoint is kept. {way_out}"
    )


def assert_weights_finite(state: State, step: int, ranks: Cluster, way_out: str = "") -> None:
    """Raise TrainingError if a weight is not finite: such weights must not become the newest checkpoint."""
    if ranks.any(not np.isfinite(state.params.numpy()).all()):
        raise TrainingError(f"the weights are not finite after step {step}; the last checkpoint is kept. {way_out}")
