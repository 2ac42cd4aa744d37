"""A run that writes checkpoints and loses ranks: closed forms, and discrete events.

Failures come at random, on average once in `mtbf_s` seconds of the whole job, also while it starts again. What was
computed after the last whole checkpoint is lost. Times in seconds.
Legend: T intervals, R replicas of the run.
"""

import math
from typing import NamedTuple

import numpy as np


class Costs(NamedTuple):
    """The seconds of a checkpoint, those from a failure to the first step after it, and those between two failures."""

    checkpoint_s: float
    restart_s: float
    mtbf_s: float  # of the job; inf: no failures


class Outcome(NamedTuple):
    """Replicas of a run for each interval, each [T, R]."""

    wall_s: np.ndarray
    failures: np.ndarray


def young(costs: Costs) -> float:
    """Return the interval between checkpoints by Young (1974): sqrt(2 C M)."""
    return math.sqrt(2 * costs.checkpoint_s * costs.mtbf_s)


def daly(costs: Costs) -> float:
    """Return the interval between checkpoints by Daly (2006), equation 37: of higher order in C / M."""
    ratio = costs.checkpoint_s / (2 * costs.mtbf_s)
    if ratio >= 1:
        return costs.mtbf_s
    return young(costs) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - costs.checkpoint_s


def expected_s(work_s: float, interval_s: float, costs: Costs) -> float:
    """Return the expected seconds of a run of whole intervals (Daly 2006, equation 20).

    M exp(R / M) (exp((interval + C) / M) - 1) work / interval, and without failures (1 + C / interval) work.
    """
    if math.isinf(costs.mtbf_s):
        return work_s * (1 + costs.checkpoint_s / interval_s)
    attempt = (interval_s + costs.checkpoint_s) / costs.mtbf_s
    if attempt > 500:  # exp would overflow
        return math.inf
    return costs.mtbf_s * math.exp(costs.restart_s / costs.mtbf_s) * math.expm1(attempt) * work_s / interval_s


def simulate(work_s: float, intervals_s_T: np.ndarray, costs: Costs, replicas: int, seed: int) -> Outcome:
    """Return the runs of `work_s` seconds of steps, with a checkpoint after each interval and at the end.

    An event is a failure. Its times are the same for all intervals, so that their differences have less noise.
    """
    rng = np.random.default_rng(seed)
    interval_T1 = np.asarray(intervals_s_T, np.float64)[:, None]
    segment_T1 = interval_T1 + costs.checkpoint_s
    all_T1 = work_s + np.ceil(work_s / interval_T1 - 1e-9) * costs.checkpoint_s  # seconds of a run without failures
    shape = (len(interval_T1), replicas)
    wall_TR, done_TR, failures_TR = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
    running_TR, starting = np.ones(shape, bool), 0.0
    while running_TR.any():
        until_R = rng.exponential(costs.mtbf_s, replicas) if math.isfinite(costs.mtbf_s) else np.full(replicas, np.inf)
        left_TR = all_T1 - done_TR
        ends_TR = running_TR & (until_R - starting >= left_TR)
        fails_TR = running_TR & ~ends_TR
        wall_TR += np.where(ends_TR, starting + left_TR, 0.0) + np.where(fails_TR, until_R, 0.0)
        whole_TR = np.floor(np.maximum(until_R - starting, 0.0) / segment_T1) * segment_T1
        done_TR += np.where(fails_TR, whole_TR, 0.0)
        failures_TR += fails_TR
        running_TR, starting = fails_TR, costs.restart_s
    return Outcome(wall_TR, failures_TR)
