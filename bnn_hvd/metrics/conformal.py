"""Conformal prediction: sets of classes, and intervals of real targets, that hold the truth with a stated probability.

A score says how badly a label fits a prediction. The threshold is the k-th smallest score of n calibration examples,
k = ceil((n + 1) coverage), and a set holds every label whose score is at most that. If the calibration examples and a
new one are exchangeable, and training has used neither, the set holds the new label with a probability of at least
`coverage`, whatever the network is (Vovk, Gammerman & Shafer 2005). Given the calibration examples, the coverage is
distributed as Beta(k, n + 1 - k) (Vovk 2012; Angelopoulos & Bates 2023). Numpy and scipy only.

Shapes: N examples, C classes, B = 2 bounds of an interval.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

RAPS_PENALTY, RAPS_FREE = 0.1, 1  # per rank beyond the first RAPS_FREE; fixed, so that no data are used to choose them
ROUNDING = 1e-9  # (n + 1) coverage may exceed a whole number by a rounding error


def rank(num_calibration: int, coverage: float) -> int:
    """Return k: which of the sorted calibration scores, from 1, is the threshold."""
    return math.ceil((num_calibration + 1) * coverage - ROUNDING)


def fewest(coverage: float) -> int:
    """Return the smallest number of calibration examples that has a threshold."""
    return math.ceil(coverage / (1 - coverage) - ROUNDING)


def threshold(scores_N: np.ndarray, coverage: float) -> float:
    """Return the k-th smallest of the calibration scores."""
    k = rank(len(scores_N), coverage)
    assert 1 <= k <= len(scores_N), "there are too few calibration examples"
    return float(np.partition(np.asarray(scores_N, np.float64), k - 1)[k - 1])


def likely_coverage(num_calibration: int, num_scored: int, coverage: float, probability: float) -> tuple[float, float]:
    """Return the central interval of the coverage that is seen on `num_scored` examples, if the guarantee holds.

    The number of covered ones is beta-binomial (Angelopoulos & Bates 2023, appendix C); scores that are equal only
    raise it.
    """
    k = rank(num_calibration, coverage)
    low, high = stats.betabinom(num_scored, k, num_calibration + 1 - k).interval(probability)
    return float(low) / num_scored, float(high) / num_scored


def thr(probs_NC: np.ndarray, u_N: np.ndarray) -> np.ndarray:
    """Return 1 - p of each class [N, C]: the smallest sets on average (Sadinle, Lei & Wasserman 2019)."""
    return 1 - np.asarray(probs_NC, np.float64)


def aps(probs_NC: np.ndarray, u_N: np.ndarray) -> np.ndarray:
    """Return the probability of all likelier classes, plus a part u of the class's own [N, C].

    Adaptive prediction sets (Romano, Sesia & Candès 2020). u_N: uniform on [0, 1]; without it, the sets of a confident
    network would be larger than they need to be.
    """
    return _of_ranked(probs_NC, u_N, lambda rank_C: np.zeros(len(rank_C)))


def raps(probs_NC: np.ndarray, u_N: np.ndarray) -> np.ndarray:
    """Return `aps` with a penalty on classes of a low rank [N, C], which a long tail would add to the sets.

    Regularised adaptive prediction sets (Angelopoulos, Bates, Malik & Jordan 2021).
    """
    return _of_ranked(probs_NC, u_N, lambda rank_C: RAPS_PENALTY * np.maximum(rank_C - RAPS_FREE, 0))


def _of_ranked(probs_NC: np.ndarray, u_N: np.ndarray, penalty: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    probs_NC = np.asarray(probs_NC, np.float64)
    order_NC = np.argsort(-probs_NC, axis=1, kind="stable")
    sorted_NC = np.take_along_axis(probs_NC, order_NC, 1)
    likelier_NC = np.cumsum(sorted_NC, axis=1) - sorted_NC
    ranks_C = np.arange(1, probs_NC.shape[1] + 1)
    found_NC = np.empty_like(probs_NC)
    np.put_along_axis(found_NC, order_NC, likelier_NC + u_N[:, None] * sorted_NC + penalty(ranks_C), 1)
    return found_NC


CLASS_SCORES = {"thr": thr, "aps": aps, "raps": raps}


def central_levels(coverage: float) -> tuple[float, float]:
    """Return the levels of the two quantiles that have `coverage` between them."""
    return (1 - coverage) / 2, (1 + coverage) / 2


def cqr(y_N: np.ndarray, quantiles_NB: np.ndarray) -> np.ndarray:
    """Return by how much each target is outside of the central interval [N]; inside, it is negative.

    Conformalised quantile regression (Romano, Patterson & Candès 2019). quantiles_NB: the predicted (1 - coverage) / 2
    and (1 + coverage) / 2 quantiles.
    """
    return np.maximum(quantiles_NB[:, 0] - y_N, y_N - quantiles_NB[:, 1])


def cqr_interval(quantiles_NB: np.ndarray, threshold: float) -> np.ndarray:
    """Return the interval of each example [N, B]; one that is shrunk to nothing has both ends in its middle."""
    widened_NB = quantiles_NB + np.array([-threshold, threshold])
    middle_N1 = quantiles_NB.mean(axis=1, keepdims=True)
    return np.where(widened_NB[:, :1] <= widened_NB[:, 1:], widened_NB, middle_N1)


def scaled(y_N: np.ndarray, mean_N: np.ndarray, std_N: np.ndarray) -> np.ndarray:
    """Return |y - mean| / std [N]: locally scaled residuals (Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018)."""
    return np.abs(y_N - mean_N) / std_N


def scaled_interval(mean_N: np.ndarray, std_N: np.ndarray, threshold: float) -> np.ndarray:
    """Return the interval of each example [N, B]."""
    return np.stack([mean_N - threshold * std_N, mean_N + threshold * std_N], axis=1)


def sets_summary(sets_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, Any]:
    """Return the coverage of sets, bool [N, C], over all examples and over those of each class, and their size.

    A class without an example has the coverage NaN.
    """
    covered_N = sets_NC[np.arange(len(labels_N)), labels_N]
    size_N = sets_NC.sum(axis=1)
    count_C = np.bincount(labels_N, minlength=sets_NC.shape[1])
    of_class_C = np.bincount(labels_N, covered_N, sets_NC.shape[1])
    by_class = [float(found / count) if count else math.nan for found, count in zip(of_class_C, count_C, strict=True)]
    return {
        "coverage": float(covered_N.mean()), "coverage_by_class": by_class,
        "least_class_coverage": float(np.nanmin(by_class)), "mean_size": float(size_N.mean()),
        "empty": float(np.mean(size_N == 0)), "single": float(np.mean(size_N == 1)),
    }  # fmt: skip


def intervals_summary(intervals_NB: np.ndarray, y_N: np.ndarray, std_N: np.ndarray) -> dict[str, Any]:
    """Return the coverage of intervals, over all examples and over four equal parts from small to large std_N, and
    their width in units of y."""
    covered_N = (intervals_NB[:, 0] <= y_N) & (y_N <= intervals_NB[:, 1])
    width_N = intervals_NB[:, 1] - intervals_NB[:, 0]
    parts = [part for part in np.array_split(np.argsort(std_N, kind="stable"), 4) if len(part)]
    return {
        "coverage": float(covered_N.mean()),
        "coverage_by_std_quarter": [float(covered_N[part].mean()) for part in parts],
        "mean_width": float(width_N.mean()), "median_width": float(np.median(width_N)),
    }  # fmt: skip
