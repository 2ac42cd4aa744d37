"""Distance of a run's predictive distribution from that of a reference posterior; numpy and scipy only.

Agreement and total variation are those of Izmailov, Vikram, Hoffman & Wilson (2021), section 3.3.
"""

import numpy as np
from scipy import special, stats


def agreement(probs_NC: np.ndarray, reference_NC: np.ndarray) -> float:
    """Return the fraction of examples for which both predict the same class."""
    return float(np.mean(probs_NC.argmax(-1) == reference_NC.argmax(-1)))


def total_variation(probs_NC: np.ndarray, reference_NC: np.ndarray) -> float:
    """Return the total variation distance, sum of |p - q| / 2, mean over examples: 0 is equal, 1 is disjoint."""
    return float(np.mean(0.5 * np.abs(probs_NC.astype(np.float64) - reference_NC).sum(-1)))


def compare_epistemic(epistemic_N: np.ndarray, reference_N: np.ndarray) -> dict[str, float]:
    """Return how far the epistemic uncertainty of each example is from a reference's, by name.

    The ratio of the means (1: the same), Spearman's rank correlation over the examples (1: the same order) and the mean
    absolute difference, in the unit of both. What is not defined is left out: the correlation where all values of one
    are equal, as with a single draw, and the ratio to 0.
    """
    epistemic_N, reference_N = epistemic_N.astype(np.float64), reference_N.astype(np.float64)
    found = {}
    if reference_N.mean() > 0:
        found["epistemic_ratio"] = float(epistemic_N.mean() / reference_N.mean())
    if np.ptp(epistemic_N) > 0 and np.ptp(reference_N) > 0:
        found["epistemic_rank_correlation"] = float(stats.spearmanr(epistemic_N, reference_N).statistic)
    return found | {"epistemic_mean_abs_difference": float(np.abs(epistemic_N - reference_N).mean())}


def jensen_shannon(first_M: np.ndarray, second_K: np.ndarray, bins: int = 20) -> float:
    """Return the Jensen-Shannon divergence of two distributions of a number from values drawn from each, in nats.

    The bins have equal numbers of the pooled values. Two equal distributions have about (bins - 1) / 8 (1 / M + 1 / K).
    """
    edges = np.quantile(np.concatenate([first_M, second_K]), np.arange(1, bins) / bins)
    p, q = (np.bincount(np.searchsorted(edges, v), minlength=bins) / len(v) for v in (first_M, second_K))
    middle = (p + q) / 2
    return float(np.sum(special.rel_entr(p, middle) + special.rel_entr(q, middle)) / 2)
