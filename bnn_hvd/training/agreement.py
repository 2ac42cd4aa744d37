"""What all ranks must agree on between two calls of the loop: whether to stop, and that no number is infinite."""

import numpy as np

from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import TrainingError
from bnn_hvd.inference.method import State


def agree(
    stop: bool, step_s: float, loss_here_T: np.ndarray, first_step: int, ranks: Cluster, way_out: str = ""
) -> tuple[bool, float]:
    """Return whether any rank is to stop, and the time of a step of the slowest rank: all in one all-reduce.

    way_out: what to try where the loss is not finite.

    Raises:
      TrainingError: the loss of some rank is not finite; it names the first step and rank.
    """
    bad = np.flatnonzero(~np.isfinite(loss_here_T))
    some_bad, stopping, slowest_s = ranks.max([len(bad) > 0, stop, step_s])
    if not some_bad:
        return bool(stopping), slowest_s
    step, rank = min((int(first), rank) for rank, first in enumerate(ranks.gather(bad[0] if len(bad) else 1e9)))
    raise TrainingError(
        f"the loss is not finite at step {first_step + step + 1} on rank {rank}; the last checkpoint is kept. {way_out}"
    )


def assert_weights_finite(state: State, step: int, ranks: Cluster, way_out: str = "") -> None:
    """Stop before weights that a finite loss led to infinity are evaluated, or become the newest checkpoint."""
    if ranks.any(not np.isfinite(state.params.numpy()).all()):
        raise TrainingError(f"the weights are not finite after step {step}; the last checkpoint is kept. {way_out}")
