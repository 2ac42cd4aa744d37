"""Selective prediction: the error of the examples that are kept when the most uncertain ones are left out; numpy only.

Coverage is the fraction of examples that are kept, risk the mean loss of these (El-Yaniv & Wiener 2010). Examples of
equal uncertainty are kept in random order: risks are means over it. Shape: N examples.
"""

import numpy as np

RISK = 0.05


def risks(uncertainty_N: np.ndarray, loss_N: np.ndarray) -> np.ndarray:
    """Return the risk of the 1, 2, ..., N least uncertain examples [N]."""
    _, place_N, count = np.unique(uncertainty_N, return_inverse=True, return_counts=True)
    mean = np.bincount(place_N, np.asarray(loss_N, np.float64)) / count
    return np.cumsum(np.repeat(mean, count)) / np.arange(1, len(loss_N) + 1)


def aurc(uncertainty_N: np.ndarray, loss_N: np.ndarray) -> float:
    """Return the area under the risk-coverage curve: the mean of the risks (Geifman, Uziel & El-Yaniv 2019)."""
    return float(np.mean(risks(uncertainty_N, loss_N)))


def excess_aurc(uncertainty_N: np.ndarray, loss_N: np.ndarray) -> float:
    """Return how much larger it is than that of the best order, in which the losses grow (same paper)."""
    return aurc(uncertainty_N, loss_N) - aurc(loss_N, loss_N)


def coverage_at_risk(uncertainty_N: np.ndarray, loss_N: np.ndarray, risk: float = RISK) -> float:
    """Return the largest coverage whose risk is at most `risk`; 0 if there is none."""
    fine = np.flatnonzero(risks(uncertainty_N, loss_N) <= risk)
    return float((fine[-1] + 1) / len(loss_N)) if len(fine) else 0.0
