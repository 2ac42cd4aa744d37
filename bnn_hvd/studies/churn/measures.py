"""How much the replicas of one training disagree. Numpy only.

Churn is the fraction of examples to which the replicas do not all give the same label (Milani Fard et al. 2016 define
it for two). Legend: K replicas, N examples, C classes, T times, P weights.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnn_hvd.metrics import classification, detection


def differing(labels_KN: np.ndarray) -> np.ndarray:
    """Return whether the replicas predict different labels for each example, [N] bool."""
    return (labels_KN != labels_KN[0]).any(axis=0)


def churn(labels_KN: np.ndarray) -> float:
    return float(differing(labels_KN).mean())


def pairwise_disagreement(labels_KN: np.ndarray) -> float:
    """Return the fraction of examples that two replicas label differently, averaged over the pairs of replicas.

    Unlike churn, it does not grow with the number of replicas.
    """
    pairs = itertools.combinations(labels_KN, 2)
    return float(np.mean([np.mean(one != other) for one, other in pairs]))


def accuracies(labels_KN: np.ndarray, truth_N: np.ndarray) -> list[float]:
    return [float(accuracy) for accuracy in (labels_KN == truth_N).mean(axis=1)]


def agreement(labels_KN: np.ndarray, truth_N: np.ndarray) -> dict[str, Any]:
    """Return the measures that need labels alone; a measure that would divide by 0 is None."""
    accuracy = accuracies(labels_KN, truth_N)
    error, flips = 1 - float(np.mean(accuracy)), differing(labels_KN)
    churned = churn(labels_KN)
    right_N = (labels_KN == truth_N).mean(axis=0)
    return {
        "churn": churned,
        "pairwise_disagreement": pairwise_disagreement(labels_KN),
        "accuracy": accuracy,
        "accuracy_mean": 1 - error,
        "accuracy_spread": max(accuracy) - min(accuracy),
        "churn_per_error": churned / error if error > 0 else None,
        "accuracy_where_differing": float(right_N[flips].mean()) if flips.any() else None,
        "accuracy_elsewhere": float(right_N[~flips].mean()) if not flips.all() else None,
    }


def ulps(a: np.ndarray, b: np.ndarray) -> int:
    """Return the largest distance between two arrays in ulps of float32; finite numbers that differ are 1 or more."""
    return int(np.abs(_ordered(a) - _ordered(b)).max(initial=0))


def _ordered(x: np.ndarray) -> np.ndarray:
    """Return integers in the order of the floats: neighbours differ by 1, and -0 and 0 are equal."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def by_group(labels_KN: np.ndarray, truth_N: np.ndarray, group_N: np.ndarray, names: Sequence[str]) -> list[dict]:
    """Return the churn and the accuracies within each group of examples: a class, or a group of the user's."""
    found = []
    for value, name in enumerate(names):
        inside = group_N == value
        if not inside.any():
            continue
        mine = accuracies(labels_KN[:, inside], truth_N[inside])
        found.append({
            "group": name, "examples": int(inside.sum()), "churn": churn(labels_KN[:, inside]),
            "accuracy": float(np.mean(mine)), "accuracy_spread": max(mine) - min(mine),
        })  # fmt: skip
    return found


def most_divergent(probs_KNC: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the examples on which the replicas differ most, at most `count`.

    They are in descending order of the spread of the votes (1 - sum over labels of the squared share of the votes),
    and where this is equal, of the entropy of the mean probabilities. Examples without a difference are left out.
    """
    votes_NC = np.eye(probs_KNC.shape[2])[probs_KNC.argmax(axis=2)].mean(axis=0)
    spread_N = 1 - (votes_NC**2).sum(axis=1)
    doubt_N = classification.entropy(probs_KNC.mean(axis=0))
    ordered = np.lexsort((-doubt_N, -spread_N))
    return ordered[spread_N[ordered] > 0][:count]


def foretold(score_N: np.ndarray, labels_KN: np.ndarray) -> float | None:
    """Return the AUROC of a score for the examples whose labels differ; None if all or no labels differ."""
    flips = differing(labels_KN)
    if flips.all() or not flips.any():
        return None
    return detection.auroc(score_N[~flips], score_N[flips])


def distances(weights_KTP: Sequence[Sequence[np.ndarray]]) -> list[float]:
    """Return the L2 distance of the weights at each time, averaged over the pairs of replicas: [T]."""
    times = zip(*weights_KTP, strict=True)
    return [float(np.mean([_distance(a, b) for a, b in itertools.combinations(now, 2)])) for now in times]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a.astype(np.float64) - b.astype(np.float64)))


def first_difference(steps_T: Sequence[int], sums_KT: Sequence[Sequence[str]]) -> int | None:
    """Return the first step at which the checksums of the replicas differ; None if there is none."""
    for step, *sums in zip(steps_T, *sums_KT, strict=True):
        if len(set(sums)) > 1:
            return step
    return None


def growth(distance_T: Sequence[float]) -> float | None:
    """Return the last distance as a multiple of the first that is not 0; None if all are 0."""
    apart = [distance for distance in distance_T if distance > 0]
    return apart[-1] / apart[0] if apart else None
