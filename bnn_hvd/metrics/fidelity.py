"""Distance of a run's predictive distribution from that of a reference posterior; numpy only.

Agreement and total variation are those of Izmailov, Vikram, Hoffman & Wilson (2021), section 3.3.
"""

import numpy as np


def agreement(probs_NC: np.ndarray, reference_NC: np.ndarray) -> float:
    """Return the fraction of examples for which both predict the same class."""
    return float(np.mean(probs_NC.argmax(-1) == reference_NC.argmax(-1)))


def total_variation(probs_NC: np.ndarray, reference_NC: np.ndarray) -> float:
    """Return the total variation distance, sum of |p - q| / 2, mean over examples: 0 is equal, 1 is disjoint."""
    return float(np.mean(0.5 * np.abs(probs_NC.astype(np.float64) - reference_NC).sum(-1)))


def compare(probs_NC: np.ndarray, reference_NC: np.ndarray) -> dict[str, float]:
    return {
        "agreement": agreement(probs_NC, reference_NC),
        "total_variation": total_variation(probs_NC, reference_NC),
    }
