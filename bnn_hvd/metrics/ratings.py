"""Scores of recommendation: log likelihood, AUROC and precision of held-out entries. numpy only.

Legend: U users, I items, E entries, T top items, G genres. y is 1 (rated), -1 (not rated) or 0 (unknown), as in
data/ratings.py.
"""

import numpy as np

from bnn_hvd.metrics.classification import TINY
from bnn_hvd.metrics.detection import auroc

TOP = 10  # of precision_at_10


def summary(probs_UI: np.ndarray, y_UI: np.ndarray) -> dict[str, float]:
    """Return the scores of the known entries of y that every evaluation reports, by name."""
    known_UI = y_UI != 0
    probs_E, rated_E = probs_UI[known_UI], y_UI[known_UI] > 0
    both = 0 < rated_E.sum() < len(rated_E)
    return {
        "nll": nll(probs_E, rated_E),
        "auroc": auroc(probs_E[~rated_E], probs_E[rated_E]) if both else float("nan"),
        f"precision_at_{TOP}": precision(probs_UI, y_UI),
    }


def nll(probs_E: np.ndarray, rated_E: np.ndarray) -> float:
    """Return the mean negative log likelihood of entries, in nats."""
    probs_E = np.asarray(probs_E, np.float64)
    return float(-np.mean(np.log(np.maximum(np.where(rated_E, probs_E, 1 - probs_E), TINY))))


def precision(probs_UI: np.ndarray, y_UI: np.ndarray, top: int = TOP) -> float:
    """Return the fraction of a user's `top` most probable known entries that are rated, averaged over users.

    A user with fewer known entries counts with all of them, a user with none does not count.
    """
    hidden_UI = np.where(y_UI != 0, probs_UI, -1.0)
    top = min(top, y_UI.shape[1])
    first_UT = np.argpartition(-hidden_UI, top - 1, axis=1)[:, :top]
    found_UT = np.take_along_axis(y_UI, first_UT, 1)
    known_U = (found_UT != 0).sum(1)
    return float(np.mean((found_UT > 0).sum(1)[known_U > 0] / known_U[known_U > 0]))


def most_and_fewest(num_rated_U: np.ndarray) -> tuple[int, int]:
    """Return the user with the most ratings and the one with the fewest; ties: the first."""
    return int(num_rated_U.argmax()), int(num_rated_U.argmin())


def counts(votes_I: np.ndarray, names: tuple[str, ...]) -> list[tuple[int, str, int]]:
    """Return (item, name, draws that rank it first), most draws first, then in the order of the items."""
    order = np.argsort(-votes_I, kind="stable")
    return [(int(i), names[i], int(votes_I[i])) for i in order if votes_I[i]]


def genre_counts(votes_I: np.ndarray, genre_IG: np.ndarray, names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return (genre, draws whose first item has it), most draws first; an item with two genres counts for both."""
    votes_G = votes_I @ genre_IG.astype(np.int64)
    return [(names[g], int(votes_G[g])) for g in np.argsort(-votes_G, kind="stable") if votes_G[g]]
