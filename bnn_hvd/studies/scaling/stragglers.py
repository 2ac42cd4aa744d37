"""The time of a step of many ranks, of which all wait for the slowest, from the measured times of a few.

Legend: D measured times, F measured ranks, T steps, p ranks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bnn_hvd.run import records
from bnn_hvd.studies.scaling.collect import Run

BLOCK = 1 << 20  # times drawn at once


class Spread(NamedTuple):
    """How the computation of a step varies, relative to its mean on a rank.

    draws_D: between the steps of a rank. factors_F: between the means of ranks, relative to their median.
    """

    draws_D: np.ndarray
    factors_F: np.ndarray


def measured(runs: Sequence[Run]) -> Spread:
    """Return the spread of the measured calls of rank 0, and of the means of all ranks.

    A call of k steps has a mean of k times, which varies less than one: runs with --steps_per_call=1 show all of it.
    """
    draws, factors = [], []
    for run in runs:
        rows = records.read_timings(run.path, "train")
        times = np.array([(row["seconds"] - row["communication_s"]) / row["steps"] for row in rows])
        draws.append(times / times.mean() if len(times) else np.ones(1))
        factors.append(np.array(run.compute_ms) / np.median(run.compute_ms))
    return Spread(np.concatenate(draws), np.concatenate(factors))


def slowest(spread: Spread, ranks: int, steps: int, seed: int) -> np.ndarray:
    """Return the computation of the slowest of p ranks in each of T steps, relative to the mean of a typical rank [T].

    Each rank has one factor in all steps, and draws the rest afresh in each.
    """
    rng = np.random.default_rng(seed)
    slowest_T = np.zeros(steps)
    factors_p = rng.choice(spread.factors_F, ranks)
    at_once = max(1, BLOCK // steps)
    for first in range(0, ranks, at_once):
        mine = factors_p[first : first + at_once]
        times = rng.choice(spread.draws_D, (len(mine), steps)) * mine[:, None]
        slowest_T = np.maximum(slowest_T, times.max(0))
    return slowest_T
