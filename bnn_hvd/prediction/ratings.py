"""What `predict` writes for implicit ratings: scores of the held-out entries, and recommendations to users.

Legend: S draws, U users, N users of a chunk, I items, K chosen users, E held-out entries.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.config import PredictConfig, lists
from bnn_hvd.data.arrays import Arrays, Catalogue
from bnn_hvd.errors import UserError
from bnn_hvd.inference.likelihoods import log_loss
from bnn_hvd.metrics import classification, ratings
from bnn_hvd.prediction.predictor import Found, Predictor, Result, Sums
from bnn_hvd.run import records


def predict(predictor: Predictor, arrays: Arrays, config: PredictConfig) -> Result:
    """Return the arrays of predictive.npz and the content of uncertainty.json, on every rank.

    The latter has the content of recommendations.json too, under that name.

    Raises:
      UserError: a user is not in the data.
    """
    assert arrays.catalogue is not None
    chosen = choose_users(arrays, config.users)
    means = predictor.means(ENTRY_SUMS, config.num_draws, arrays.x_test, arrays.y_test)
    probs_UI = means["probs"]
    held_out_UI = arrays.y_test != 0
    report: dict[str, Any] = ratings.summary(probs_UI, arrays.y_test)
    report["single_draw_nll"] = float(means["loss"].sum() / held_out_UI.sum())
    if arrays.catalogue.truth_UI is not None:
        truth_nll = ratings.nll(arrays.catalogue.truth_UI[held_out_UI], arrays.y_test[held_out_UI] > 0)
        report |= {"truth_nll": truth_nll, "nll_over_truth": report["nll"] / truth_nll}
    found = {
        "held_out_probs_E": probs_UI[held_out_UI].astype(np.float32),
        "held_out_watched_E": arrays.y_test[held_out_UI] > 0,
    }
    more, recommended = recommend(predictor, arrays, chosen, config.num_draws)
    report |= {"num_held_out": int(held_out_UI.sum()), records.RECOMMENDATIONS: recommended}
    return found | more, report


def choose_users(arrays: Arrays, users: str) -> dict[int, str]:
    """Return the rows of the chosen users, each with the reason: most ratings, fewest ratings, or asked for."""
    assert arrays.catalogue is not None
    most, fewest = ratings.most_and_fewest(num_rated(arrays))
    chosen = {most: "most ratings"} | ({fewest: "fewest ratings"} if fewest != most else {})
    row_of = {name: row for row, name in enumerate(arrays.catalogue.users)}
    for name in lists.words(users):
        if name not in row_of:
            raise UserError(f"--users={users}: there is no user {name!r}; the first are {', '.join([*row_of][:5])}")
        chosen.setdefault(row_of[name], "asked for")
    return chosen


def num_rated(arrays: Arrays) -> np.ndarray:
    """Return the number of items that each user has rated, in both parts [U]."""
    return (arrays.y_train > 0).sum(1) + (arrays.y_test > 0).sum(1)


def recommend(predictor: Predictor, arrays: Arrays, chosen: dict[int, str], num_draws: int) -> Result:
    """Return the arrays and the content of recommendations.json: how many draws rank which item first for a user.

    Only items that the user has rated in neither part are ranked.
    """
    catalogue, rows_K = arrays.catalogue, np.array(list(chosen))
    assert catalogue is not None
    rated_KI = np.maximum(arrays.y_train[rows_K], arrays.y_test[rows_K]) > 0
    means = predictor.means(VOTE_SUMS, num_draws, arrays.x_test[rows_K], rated_KI)
    num_draws = predictor.method.num_draws(num_draws)
    votes_KI = np.rint(means["votes"] * num_draws).astype(np.int64)
    rated_U = num_rated(arrays)
    users = [
        {"user": catalogue.users[row], "why": why, "num_ratings": int(rated_U[row])}
        | distribution(votes_KI[k], means["probs"][k], catalogue)
        for k, (row, why) in enumerate(chosen.items())
    ]
    found = {"recommended_row_K": rows_K, "recommended_votes_KI": votes_KI, "recommended_seen_KI": rated_KI}
    return found, {"num_draws": num_draws, "num_items": len(catalogue.titles), "users": users}


def distribution(votes_I: np.ndarray, probs_I: np.ndarray, catalogue: Catalogue) -> dict[str, Any]:
    """Return how many draws rank each item first, and how many each genre, for recommendations.json."""
    by_title = [
        {
            "title": title, "count": count, "prob": float(probs_I[item]),
            "genres": [catalogue.genres[g] for g in np.flatnonzero(catalogue.genre_IG[item])],
        }
        for item, title, count in ratings.counts(votes_I, catalogue.titles)
    ]  # fmt: skip
    by_genre = ratings.genre_counts(votes_I, catalogue.genre_IG, catalogue.genres)
    return {"by_title": by_title, "by_genre": [{"genre": genre, "count": count} for genre, count in by_genre]}


def uncertainties(predictor: Predictor, users: np.ndarray, num_draws: int) -> Found:
    """Return the probabilities of all items for some users [N, 1] and, in nats, their total, aleatoric and epistemic
    uncertainty, each [N, I], by name."""
    means = predictor.means(ENTROPY_SUMS, num_draws, users)
    probs_NI = means["probs"]
    total_NI = classification.entropy(np.stack([probs_NI, 1 - probs_NI], axis=-1))
    one_draw = predictor.method.num_draws(num_draws) == 1
    aleatoric_NI = total_NI if one_draw else np.minimum(means["entropy"], total_NI)  # both are equal up to rounding
    return {
        "probs_NI": probs_NI.astype(np.float32), "total_NI": total_NI, "aleatoric_NI": aleatoric_NI,
        "epistemic_NI": total_NI - aleatoric_NI,
    }  # fmt: skip


def sums_of_entries(outputs_SNI: tf.Tensor, y_NI: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the sums over S of the probabilities [N, I], and of the negative log likelihood of known entries [N]."""
    return tf.reduce_sum(tf.sigmoid(outputs_SNI), 0), tf.reduce_sum(log_loss(outputs_SNI, y_NI), [0, 2])


def sums_of_votes(outputs_SNI: tf.Tensor, rated_NI: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the sums over S of the votes for the first unrated item (none if all are rated) and of the probabilities.

    Both are [N, I].
    """
    unrated_NI = tf.cast(tf.logical_not(rated_NI), tf.float32)
    first_SN = tf.argmax(tf.where(rated_NI, -np.inf, outputs_SNI), -1)
    votes_SNI = tf.one_hot(first_SN, outputs_SNI.shape[-1]) * unrated_NI
    return tf.reduce_sum(votes_SNI, 0), tf.reduce_sum(tf.sigmoid(outputs_SNI), 0)


def sums_with_entropies(outputs_SNI: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the sums over S of the probabilities, and of their entropies in nats, [N, I]."""
    probs_SNI = tf.sigmoid(outputs_SNI)
    entropy_SNI = tf.math.softplus(outputs_SNI) - outputs_SNI * probs_SNI
    return tf.reduce_sum(probs_SNI, 0), tf.reduce_sum(entropy_SNI, 0)


ENTROPY_SUMS = Sums(("probs", "entropy"), sums_with_entropies)
ENTRY_SUMS = Sums(("probs", "loss"), sums_of_entries)
VOTE_SUMS = Sums(("votes", "probs"), sums_of_votes)


def text(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    names = ("nll", "single_draw_nll", "truth_nll", "nll_over_truth", "auroc", f"precision_at_{ratings.TOP}")
    return [f"{name:24} {report[name]:.4f}" for name in names if name in report]
