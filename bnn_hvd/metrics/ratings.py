"""Scores of who has watched what: log likelihood, AUROC and precision of entries that were held out. numpy only.

Legend: U users, I items. y is 1 (watched), -1 (not) or 0 (not known), as in data/ratings.py.
"""

import numpy as np

from bnn_hvd.metrics.classification import TINY, auroc

TOP = 10  # of precision_at_10


def summary(probs_UI: np.ndarray, y_UI: np.ndarray) -> dict[str, float]:
    """Return what every evaluation reports, of the entries that are known in y: nll is their mean, in nats."""
    known_UI = y_UI != 0
    probs_E, watched_E = probs_UI[known_UI], y_UI[known_UI] > 0
    both = 0 < watched_E.sum() < len(watched_E)
    return {
        "nll": nll(probs_E, watched_E),
        "auroc": auroc(probs_E[~watched_E], probs_E[watched_E]) if both else float("nan"),
        f"precision_at_{TOP}": precision(probs_UI, y_UI),
    }


def nll(probs_E: np.ndarray, watched_E: np.ndarray) -> float:
    """Return the mean negative log likelihood of entries, in nats."""
    probs_E = np.asarray(probs_E, np.float64)
    return float(-np.mean(np.log(np.maximum(np.where(watched_E, probs_E, 1 - probs_E), TINY))))


def precision(probs_UI: np.ndarray, y_UI: np.ndarray, top: int = TOP) -> float:
    """Return how many of a user's `top` most probable known entries were watched, averaged over the users.

    Of users with fewer known entries all of them count.
    """
    hidden_UI = np.where(y_UI != 0, probs_UI, -1.0)
    top = min(top, y_UI.shape[1])
    first_UT = np.argpartition(-hidden_UI, top - 1, axis=1)[:, :top]
    found_UT = np.take_along_axis(y_UI, first_UT, 1)
    known_U = (found_UT != 0).sum(1)
    return float(np.mean((found_UT > 0).sum(1)[known_U > 0] / known_U[known_U > 0]))


def most_and_fewest(num_rated_U: np.ndarray) -> tuple[int, int]:
    """Return the user with the most ratings and the one with the fewest; of equals, the first."""
    return int(num_rated_U.argmax()), int(num_rated_U.argmin())


def counts(votes_I: np.ndarray, names: tuple[str, ...]) -> list[tuple[int, str, int]]:
    """Return (item, name, draws that put it first), the most first; of equals, in the order of the items."""
    order = np.argsort(-votes_I, kind="stable")
    return [(int(i), names[i], int(votes_I[i])) for i in order if votes_I[i]]


def genre_counts(votes_I: np.ndarray, genre_IG: np.ndarray, names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return (genre, draws whose first item is of it), the most first: an item of two genres counts in both."""
    votes_G = votes_I @ genre_IG.astype(np.int64)
    return [(names[g], int(votes_G[g])) for g in np.argsort(-votes_G, kind="stable") if votes_G[g]]
