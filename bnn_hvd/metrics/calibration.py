"""Calibration: more ways to measure it, and two ways to correct it; numpy and scipy only.

Shapes: N examples, C classes, B bins, K knots.
"""

import numpy as np
from scipy import optimize, special

from bnn_hvd.metrics.classification import TINY

NUM_BINS = 15
COLDEST, HOTTEST = 0.05, 20.0  # temperatures; of predictions that are all right, the best one would be 0
MOST_KNOTS = 199


def adaptive_ece(probs_NC: np.ndarray, labels_N: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Return sum_B count / N * |accuracy - confidence| over bins of equally many examples (Nguyen & O'Connor 2015).

    With bins of equal width, nearly all examples of an accurate network are in the last one.
    """
    confidence_N = np.max(np.asarray(probs_NC, np.float64), axis=1)
    excess_N = confidence_N - (np.argmax(probs_NC, axis=1) == labels_N)
    bins = np.array_split(excess_N[np.argsort(confidence_N, kind="stable")], num_bins)
    return float(sum(abs(part.sum()) for part in bins) / len(labels_N))


def classwise_ece(probs_NC: np.ndarray, labels_N: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Return the mean over classes of sum_B count / N * |frequency of the class - its mean probability|.

    In equal bins (lo, hi] of the probability of the class, whether it is the largest or not (Kull et al. 2019).
    """
    probs_NC = np.asarray(probs_NC, np.float64)
    count, classes = probs_NC.shape
    bin_NC = np.clip(np.ceil(probs_NC * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    excess_NC = probs_NC.copy()
    excess_NC[np.arange(count), labels_N] -= 1
    place_NC = bin_NC + num_bins * np.arange(classes)
    sums = np.bincount(place_NC.ravel(), excess_NC.ravel(), num_bins * classes)
    return float(np.abs(sums).sum() / (count * classes))


def tempered(probs_NC: np.ndarray, temperature: float) -> np.ndarray:
    """Return p^(1 / temperature), normalised [N, C]; above 1 they are calmer. The order of the classes stays."""
    logs_NC = np.log(np.maximum(np.asarray(probs_NC, np.float64), TINY))
    return special.softmax(logs_NC / temperature, axis=1)


def fit_temperature(probs_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the temperature, in [COLDEST, HOTTEST], with the least negative log likelihood (Guo et al. 2017).

    In 1 / temperature it is convex, so there is one minimum.
    """
    logs_NC = np.log(np.maximum(np.asarray(probs_NC, np.float64), TINY))
    of_labels_N = logs_NC[np.arange(len(labels_N)), labels_N]

    def nll(inverse: float) -> float:
        return float(np.mean(special.logsumexp(inverse * logs_NC, axis=1) - inverse * of_labels_N))

    bounds = (1 / HOTTEST, 1 / COLDEST)
    return float(1 / optimize.minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)


def fit_quantile_map(pit_N: np.ndarray) -> np.ndarray:
    """Return K predicted levels [K]; a fraction j / (K + 1) of new targets is below the j-th of them.

    They are the quantiles of the predictive distribution functions at the targets: the isotonic regression of their
    observed on their predicted levels (Kuleshov et al. 2018) is their distribution function, at no more than MOST_KNOTS
    places.
    """
    levels_K = _levels(min(len(pit_N), MOST_KNOTS))
    return np.quantile(np.asarray(pit_N, np.float64), levels_K, method="weibull")


def observed_level(predicted: np.ndarray, map_K: np.ndarray) -> np.ndarray:
    """Return the fraction of targets below the predicted quantiles of these levels."""
    return np.interp(predicted, [0, *map_K, 1], [0, *_levels(len(map_K)), 1])


def predicted_level(observed: np.ndarray, map_K: np.ndarray) -> np.ndarray:
    """Return the levels of the predicted quantiles that have these fractions of targets below them."""
    return np.interp(observed, [0, *_levels(len(map_K)), 1], [0, *map_K, 1])


def _levels(count: int) -> np.ndarray:
    return np.arange(1, count + 1) / (count + 1)
