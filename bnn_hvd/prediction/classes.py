"""What `predict` writes for class targets.

Legend: S draws, N examples, M out-of-distribution examples, C classes, K chosen examples. Where examples have several
labels, the axes of these follow N, M and K: probs_NC is then [N, *label_shape, C].
"""

from typing import Any

import numpy as np

from bnn_hvd.config import PredictConfig
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.stored import Inputs
from bnn_hvd.metrics import calibration, classification, detection, fidelity, selective
from bnn_hvd.prediction import statistics
from bnn_hvd.prediction.predictor import Found, Predictor, Result
from bnn_hvd.targets import has_label

SHOWN = (
    "accuracy", "top5_accuracy", "single_draw_accuracy", "nll", "brier", "ece", "adaptive_ece", "classwise_ece",
)  # fmt: skip
SELECTION = (selective.aurc, selective.excess_aurc, selective.coverage_at_risk)
COMPARED = ("probs_NC", "mutual_information_N")  # with --reference


def predict(predictor: Predictor, arrays: Arrays, config: PredictConfig) -> Result:
    """Return the arrays of predictive.npz and the content of uncertainty.json, on every rank."""
    wanted = statistics.Wanted.of(config)
    means = predictor.predict(arrays.x_test, config.num_draws)
    one_draw = predictor.method.num_draws(config.num_draws) == 1
    found = distribution(means, one_draw)
    found |= compute_statistics(predictor, arrays.x_test, config.num_draws, wanted)
    labelled_N = has_label(arrays.y_test)
    more = {"class_names": np.array(arrays.class_names), **chosen(predictor, arrays, config, found)}
    if config.keep_draws == "all":
        more["draws_SNC"] = predictor.predict_each_draw(arrays.x_test, config.num_draws)
    report = measures(found, arrays.y_test)
    if labelled_N.any():
        report["selective"] = selection(found, arrays.y_test)
        more["labels_N"] = arrays.y_test
        votes = np.take_along_axis(means["votes"][labelled_N], arrays.y_test[labelled_N][:, None], axis=1)
        report["single_draw_accuracy"] = float(votes.mean())
    return found | more, report


def chosen(predictor: Predictor, arrays: Arrays, config: PredictConfig, found: Found) -> Found:
    """Return the arrays of a few examples, for the figures.

    Of one label each: some of each class, with all draws. Of several labels: those that are most doubtful on average,
    without the draws, which would be as large as the images times S.
    """
    entropy_N = found["predictive_entropy_N"]
    if predictor.target.label_shape:
        index_K = classification.most_doubtful(classification.mean_over_labels(entropy_N))
        return {"map_index_K": index_K, "examples_K": arrays.x_test[index_K]}
    classes_N = np.where(has_label(arrays.y_test), arrays.y_test, found["probs_NC"].argmax(1))
    index_K = classification.choose_examples(classes_N, entropy_N)
    draws_SKC = predictor.predict_each_draw(arrays.x_test[index_K], config.num_draws)
    return {"example_index_K": index_K, "examples_K": arrays.x_test[index_K], "draws_SKC": draws_SKC}


def predict_ood(predictor: Predictor, ood: Arrays, config: PredictConfig, test: Found) -> Result:
    """Return the arrays of out-of-distribution data, and how well uncertainty separates them from the test part."""
    one_draw = predictor.method.num_draws(config.num_draws) == 1
    found = distribution(predictor.predict(ood.x_test, config.num_draws), one_draw)
    separated = detection.measures(uncertainties(test), uncertainties(found))
    found["max_prob_N"] = found.pop("probs_NC").max(-1)
    return {f"ood_{name.replace('_N', '_M')}": values for name, values in found.items()}, separated


def compute_statistics(predictor: Predictor, x: Inputs, num_draws: int, wanted: statistics.Wanted) -> Found:
    """Return the statistics of the draws' probabilities that are wanted."""
    if not wanted.anything:
        return {}
    axis = -2 - len(predictor.target.label_shape)  # that of the examples
    found = predictor.reduce_draws(x, num_draws, lambda draws_SNC, _: wanted.statistics(draws_SNC), axis)
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
    scores = {}
    if known_N.any():
        known = found["probs_NC"][known_N], labels_N[known_N]
        errors = (calibration.adaptive_ece, calibration.classwise_ece)
        scores = classification.summary(*known) | {error.__name__: error(*known) for error in errors}
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


def uncertainties(found: Found) -> Found:
    """Return the uncertainties by which an example can be left out or detected, by name, each [N]."""
    return {
        "max_prob": 1 - found["probs_NC"].max(-1).astype(np.float64), "entropy": found["predictive_entropy_N"],
        "mutual_information": found["mutual_information_N"],
    }  # fmt: skip


def selection(found: Found, labels_N: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the scores of selective prediction by each uncertainty; that of one draw alone leaves nothing out."""
    known_N = has_label(labels_N)
    wrong_N = (found["probs_NC"].argmax(-1) != labels_N)[known_N]
    return {
        name: {score.__name__: score(values_N[known_N], wrong_N) for score in SELECTION}
        for name, values_N in uncertainties(found).items() if values_N.any()
    }  # fmt: skip


def text(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    lines = [f"{name:24} {report[name]:.4f}" for name in SHOWN if name in report]
    lines += [f"{name:24} {report[name]:.4f} nats" for name in report if name.endswith("uncertainty")]
    for name, of in report.get("selective", {}).items():
        lines.append(f"selective by {name:18} aurc {of['aurc']:.4f}, coverage at 5 % risk {of['coverage_at_risk']:.4f}")
    ood = report.get("ood", {})
    return lines + [f"ood {name:24} {value:.4f}" for name, value in ood.items() if name.startswith(detection.NAMES)]
