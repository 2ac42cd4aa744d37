"""The time of a step on each rank, and the ranks that make the others wait. Numpy only."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Call(NamedTuple):
    """One timed call of the training loop on one rank."""

    seconds: float
    steps: int
    communication_s: float  # the part of `seconds` in the all-reduce of the gradients, with the wait for slower ranks


class RankTime(NamedTuple):
    """Means over the timed steps of one rank, in ms; None if it has no timed step."""

    host: str
    step_ms: float | None
    compute_ms: float | None  # the step without communication and waiting: the rank's own work
    communication_ms: float | None


def rank_time(host: str, calls: Sequence[Call]) -> RankTime:
    """Return the times of a step, averaged over the steps of all calls."""
    steps = sum(call.steps for call in calls)
    if not steps:
        return RankTime(host, None, None, None)
    step_ms = 1e3 * sum(call.seconds for call in calls) / steps
    communication_ms = 1e3 * sum(call.communication_s for call in calls) / steps
    return RankTime(host, step_ms, step_ms - communication_ms, communication_ms)


def summary(times: Sequence[RankTime]) -> dict[str, Any]:
    """Return the entries of summary.json, by rank; times are None if a rank has no timed step."""
    timed = all(time.step_ms is not None for time in times)
    waits = [time.communication_ms for time in times if time.communication_ms is not None]
    return {
        "hosts": [time.host for time in times],
        "nodes": len({time.host for time in times}),
        "step_ms_by_rank": [time.step_ms for time in times] if timed else None,
        "compute_ms_by_rank": [time.compute_ms for time in times] if timed else None,
        "communication_ms": float(np.mean(waits)) if timed else None,
    }


def stragglers(compute_ms: Sequence[float | None], factor: float) -> list[tuple[int, float]]:
    """Return (rank, its compute time / the median over ranks) of the ranks whose ratio is above `factor`.

    The whole step takes equally long on all ranks, because the fast ones wait. So a slow rank shows only in the time
    without communication and waiting.
    """
    if not compute_ms or None in compute_ms:
        return []
    ratios = np.array(compute_ms, np.float64) / np.median(np.array(compute_ms, np.float64))
    return [(int(rank), float(ratios[rank])) for rank in np.flatnonzero(ratios > factor)]


def straggler_warning(times: Sequence[RankTime], factor: float) -> str:
    """Return the line that names the slow ranks and their hosts, "" if there are none."""
    slow = stragglers([time.compute_ms for time in times], factor)
    if not slow:
        return ""
    named = "; ".join(f"rank {rank} on {times[rank].host}: {ratio:.2f} times" for rank, ratio in slow)
    return f"bnn_hvd: warning: ranks that make the others wait: {named} the median time without communication"
