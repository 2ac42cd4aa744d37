"""What `predict` writes for class targets.

Legend: S draws, N examples, M out-of-distribution examples, C classes, K chosen examples.
"""

from typing import Any

import numpy as np

from bnn_hvd.config import PredictConfig
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.stored import Inputs
from bnn_hvd.metrics import classification, fidelity
from bnn_hvd.prediction import statistics
from bnn_hvd.prediction.predictor import Found, Predictor, Result
from bnn_hvd.targets import has_label

COMPARED = ("probs_NC", "mutual_information_N")  # with --reference


def predict(predictor: Predictor, arrays: Arrays, config: PredictConfig) -> Result:
    """Return the arrays of predictive.npz and the content of uncertainty.json, on every rank."""
    wanted = statistics.Wanted.of(config)
    means = predictor.predict(arrays.x_test, config.num_draws)
    one_draw = predictor.method.num_draws(config.num_draws) == 1
    found = distribution(means, one_draw)
    found |= compute_statistics(predictor, arrays.x_test, config.num_draws, wanted)
    labelled_N = has_label(arrays.y_test)
    classes_N = np.where(labelled_N, arrays.y_test, found["probs_NC"].argmax(1))
    index_K = classification.choose_examples(classes_N, found["predictive_entropy_N"])
    chosen = {
        "example_index_K": index_K, "examples_K": arrays.x_test[index_K],
        "draws_SKC": predictor.predict_each_draw(arrays.x_test[index_K], config.num_draws),
        "class_names": np.array(arrays.class_names),
    }  # fmt: skip
    if config.keep_draws == "all":
        chosen["draws_SNC"] = predictor.predict_each_draw(arrays.x_test, config.num_draws)
    report = measures(found, arrays.y_test)
    if labelled_N.any():
        chosen["labels_N"] = arrays.y_test
        votes_N = means["votes"][labelled_N, arrays.y_test[labelled_N]]
        report["single_draw_accuracy"] = float(votes_N.mean())
    return found | chosen, report


def predict_ood(predictor: Predictor, ood: Arrays, config: PredictConfig, test: Found) -> Result:
    """Return the arrays of out-of-distribution data, and how well uncertainty separates them from the test part."""
    one_draw = predictor.method.num_draws(config.num_draws) == 1
    found = distribution(predictor.predict(ood.x_test, config.num_draws), one_draw)
    arrays = {f"ood_{name.replace('_N', '_M')}": values for name, values in found.items() if name != "probs_NC"}
    return arrays, separation(test, found)


def compute_statistics(predictor: Predictor, x: Inputs, num_draws: int, wanted: statistics.Wanted) -> Found:
    """Return the statistics of the draws' probabilities that are wanted."""
    if not wanted.anything:
        return {}
    found = predictor.reduce_draws(x, num_draws, lambda draws_SNC, _: wanted.statistics(draws_SNC), axis=-2)
    named = {f"probs_{statistics.key(name, 'NC')}": values for name, values in found.items()}
    return named | wanted.labels()


def distribution(means: Found, one_draw: bool) -> Found:
    """Return the probabilities and, in nats, total, aleatoric and epistemic uncertainty of each example, by name.

    Epistemic uncertainty is never negative, and of one draw it is 0; both up to rounding, which is removed here.
    """
    predictive_entropy_N = classification.entropy(means["probs"])
    expected_entropy_N = predictive_entropy_N if one_draw else np.minimum(means["entropy"], predictive_entropy_N)
    return {
        "probs_NC": means["probs"],
        "predictive_entropy_N": predictive_entropy_N,
        "expected_entropy_N": expected_entropy_N,
        "mutual_information_N": predictive_entropy_N - expected_entropy_N,
    }


def measures(found: dict[str, np.ndarray], labels_N: np.ndarray) -> dict[str, Any]:
    """Return the mean uncertainties and, of the examples that have a label, the scores."""
    known_N = has_label(labels_N)
    scores = classification.summary(found["probs_NC"][known_N], labels_N[known_N]) if known_N.any() else {}
    return scores | {
        "num_labelled": int(known_N.sum()),
        "total_uncertainty": float(found["predictive_entropy_N"].mean()),
        "aleatoric_uncertainty": float(found["expected_entropy_N"].mean()),
        "epistemic_uncertainty": float(found["mutual_information_N"].mean()),
    }


def compare(found: Found, reference: Found) -> dict[str, float]:
    """Return how far the predictive distribution and its epistemic part (in nats) are from a reference's.

    A reference of probabilities alone has no epistemic part.
    """
    compared = {
        "agreement": fidelity.agreement(found["probs_NC"], reference["probs_NC"]),
        "total_variation": fidelity.total_variation(found["probs_NC"], reference["probs_NC"]),
    }
    if "mutual_information_N" in reference:
        compared |= fidelity.compare_epistemic(found["mutual_information_N"], reference["mutual_information_N"])
    return compared


def separation(test: Found, ood: Found) -> dict[str, float]:
    """Return the AUROC of two measures of uncertainty as detectors of out-of-distribution data."""
    names = {"auroc_entropy": "predictive_entropy_N", "auroc_mutual_information": "mutual_information_N"}
    if not (test[names["auroc_mutual_information"]].any() or ood[names["auroc_mutual_information"]].any()):
        del names["auroc_mutual_information"]  # of one draw: it separates nothing
    return {key: classification.auroc(test[name], ood[name]) for key, name in names.items()}


def text(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    scores = ("accuracy", "top5_accuracy", "single_draw_accuracy", "nll", "brier", "ece")
    lines = [f"{name:24} {report[name]:.4f}" for name in scores if name in report]
    lines += [f"{name:24} {report[name]:.4f} nats" for name in report if name.endswith("uncertainty")]
    ood = report.get("ood", {})
    return lines + [f"ood {name:20} {value:.4f}" for name, value in ood.items() if name.startswith("auroc")]
