"""Scores, calibration and uncertainty of predicted class probabilities; numpy only.

Total uncertainty, the entropy of the mean over posterior draws, is the sum of two parts (Depeweg et
al. 2018): aleatoric, the mean of the draws' entropies, which is noise in the data, and epistemic, the
mutual information of label and weights, which is disagreement between the draws. All in nats.

Shapes: N examples, C classes, B bins, K chosen examples. Everything is computed in float64. Where examples have several
labels, as one per pixel, each counts as an example.
"""

from typing import NamedTuple

import numpy as np

TINY = float(np.finfo(np.float32).tiny)  # smaller probabilities are clipped to it: an example costs at most 87.3 nats
MAX_CHOSEN_CLASSES = 10
TOP = 5  # with at most five classes, the top-5 accuracy would always be 1


class Reliability(NamedTuple):
    """Per bin: mean confidence, accuracy (both 0 where the bin is empty) and number of examples."""

    confidence_B: np.ndarray
    accuracy_B: np.ndarray
    count_B: np.ndarray


def accuracy(probs_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the fraction of examples whose most probable class is their label."""
    return float(np.mean(np.argmax(probs_NC, axis=1) == labels_N))


def top5_accuracy(probs_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the fraction of examples whose label is among their five most probable classes.

    Ties are in the order of the classes, as in `accuracy`.
    """
    order_NC = np.argsort(-np.asarray(probs_NC), axis=1, kind="stable")
    return float(np.mean((order_NC[:, :TOP] == np.asarray(labels_N)[:, None]).any(axis=1)))


def nll(probs_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the mean negative log likelihood per example, in nats."""
    label_probs_N = np.asarray(probs_NC, np.float64)[np.arange(len(labels_N)), labels_N]
    return float(-np.mean(np.log(np.maximum(label_probs_N, TINY))))


def brier(probs_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the squared error of the probabilities, summed over classes: 0 is perfect, 2 is worst (Brier 1950)."""
    error_NC = np.array(probs_NC, np.float64)
    error_NC[np.arange(len(labels_N)), labels_N] -= 1
    return float(np.mean(np.sum(error_NC**2, axis=1)))


def reliability(probs_NC: np.ndarray, labels_N: np.ndarray, num_bins: int = 15) -> Reliability:
    """Bin the examples by confidence, their largest probability, in equal bins (lo, hi] of [0, 1].

    A softmax that saturates gives confidence 1.0 (or, by rounding, a little more). This belongs to the last bin; bins
    [lo, hi) would lose it.
    """
    confidence_N = np.max(np.asarray(probs_NC, np.float64), axis=1)
    correct_N = np.argmax(probs_NC, axis=1) == labels_N
    edges = np.linspace(0, 1, num_bins + 1)
    bin_N = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, num_bins - 1)
    count_B = np.bincount(bin_N, minlength=num_bins)
    filled_B = np.maximum(count_B, 1)
    return Reliability(
        np.bincount(bin_N, confidence_N, num_bins) / filled_B,
        np.bincount(bin_N, correct_N, num_bins) / filled_B,
        count_B,
    )


def ece(probs_NC: np.ndarray, labels_N: np.ndarray, num_bins: int = 15) -> float:
    """Return the expected calibration error: sum_B count / N * |accuracy - confidence| (Guo et al. 2017)."""
    bins = reliability(probs_NC, labels_N, num_bins)
    gap_B = np.abs(bins.accuracy_B - bins.confidence_B)
    return float(np.sum(bins.count_B / np.sum(bins.count_B) * gap_B))


def entropy(probs: np.ndarray) -> np.ndarray:
    """Return -sum p log p over the last axis, in nats, [..., C] -> [...]; 0 log 0 is 0."""
    probs = np.asarray(probs, np.float64)
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return np.abs(np.sum(probs * logs, axis=-1))  # abs: a certain prediction has entropy 0, not -0


def summary(probs_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    """Return the scores that every evaluation reports, by name; top-5 accuracy with more than five classes only.

    probs_NC: also [N, ..., C], for labels [N, ...].
    """
    probs_NC, labels_N = probs_NC.reshape(-1, probs_NC.shape[-1]), labels_N.reshape(-1)
    tops = [top5_accuracy] * (probs_NC.shape[1] > TOP)
    return {score.__name__: score(probs_NC, labels_N) for score in (accuracy, *tops, nll, brier, ece)}


def choose_examples(labels_N: np.ndarray, predictive_entropy_N: np.ndarray) -> np.ndarray:
    """Return `example_index_K`: per class the example of least entropy, then per class that of most entropy.

    Both halves have the same classes in ascending order: all that occur, or ten of them, evenly spaced. Ties: the
    first, so the choice is deterministic.
    """
    classes = np.unique(labels_N)
    chosen = np.linspace(0, len(classes) - 1, min(len(classes), MAX_CHOSEN_CLASSES)).round().astype(int)
    members = [np.flatnonzero(labels_N == label) for label in classes[chosen]]
    most_certain = [index[np.argmin(predictive_entropy_N[index])] for index in members]
    least_certain = [index[np.argmax(predictive_entropy_N[index])] for index in members]
    return np.array(most_certain + least_certain, np.int64)


def most_doubtful(entropy_N: np.ndarray, most: int = 6) -> np.ndarray:
    """Return `example_index_K`: the examples of most entropy, the first being that of most."""
    return np.argsort(-entropy_N, kind="stable")[:most]


def mean_over_labels(values: np.ndarray) -> np.ndarray:
    """Return the mean over the labels of each example, [N, *label_shape] -> [N]."""
    return values.reshape(len(values), -1).mean(axis=1) if values.ndim > 1 else values
