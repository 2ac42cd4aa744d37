"""What `predict` writes for real targets, in their units.

Legend: S draws, N examples, M out-of-distribution examples, T training examples, G points of a grid. Where
examples have several labels, the axes of these follow N and M.
"""

from typing import Any

import numpy as np

from bnn_hvd.config import PredictConfig
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.stored import Inputs
from bnn_hvd.metrics import classification, conformal, detection, fidelity, regression, selective
from bnn_hvd.metrics.regression import Mixture
from bnn_hvd.prediction import statistics
from bnn_hvd.prediction.predictor import Found, Predictor, Result
from bnn_hvd.targets import has_label

SHOWN = ("rmse", "nll", "crps", "calibration_error", "coverage_95", "two_sigma_coverage")
PARTS = ("total", "aleatoric", "epistemic")
OF_LABELS = ("y_N", "pit_N", "nll_N", "crps_N")  # arrays that need a label; NaN where an example has none
SCORED = (*OF_LABELS[1:], "mean_N", "total_std_N")
COMPARED = ("mean_N", "epistemic_std_N")  # with --reference


def predict(predictor: Predictor, arrays: Arrays, config: PredictConfig) -> Result:
    """Return the arrays of predictive.npz and the content of uncertainty.json, on every rank.

    Quantiles are of the predictive distribution, that is, of new observations. The statistics over the means of the
    draws, without the noise, are called `_of_means`.
    """
    wanted = statistics.Wanted.of(config)

    def reduce(draws: Mixture, at: slice) -> Found:
        found = wanted.statistics(draws.mean_SN).items()
        named = {statistics.key(f"{name}_of_means", "N"): values for name, values in found}
        if wanted.quantiles:
            named[statistics.key("quantiles", "N")] = regression.quantiles(draws, wanted.quantiles)
        if config.coverage:
            named["central_quantiles_BN"] = regression.quantiles(draws, conformal.central_levels(config.coverage))
        return regression.score_examples(draws, arrays.y_test[at].reshape(-1)) | named

    found = predictor.reduce_mixtures(arrays.x_test, config.num_draws, reduce) | {"y_N": arrays.y_test}
    found, report = score(found, arrays.y_test)
    if report["num_labelled"]:
        report["selective"] = selection(found, arrays.y_test)
    report |= {f"{part}_std": float(np.sqrt(np.mean(found[f"{part}_std_N"] ** 2))) for part in PARTS}
    if predictor.target.label_shape:
        index_K = classification.most_doubtful(classification.mean_over_labels(found["total_std_N"]))
        found |= {"map_index_K": index_K, "examples_K": arrays.x_test[index_K]}
    if config.keep_draws == "all":
        draws = predictor.mixture(arrays.x_test, config.num_draws)
        found |= {"draws_mean_SN": draws.mean_SN, "draws_scale_SN": draws.scale_SN}
    return found | wanted.labels() | curve(predictor, arrays, config), report


def quantiles(predictor: Predictor, x: Inputs, num_draws: int, levels: np.ndarray) -> np.ndarray:
    """Return quantiles of new observations [Q, N]."""
    found = predictor.reduce_mixtures(
        x, num_draws, lambda draws, _: {"quantiles_QN": regression.quantiles(draws, levels.tolist())}
    )
    return found["quantiles_QN"]


def score(found: Found, y_N: np.ndarray) -> Result:
    """Return the arrays that there are, and the scores of the labels that are there; without any, no scores."""
    known_N = has_label(y_N)
    if not known_N.any():
        return {name: values for name, values in found.items() if name not in OF_LABELS}, {"num_labelled": 0}
    scored = {name: found[name][..., known_N] for name in SCORED}
    return found, regression.summary(scored, y_N[known_N]) | {"num_labelled": int(known_N.sum())}


def curve(predictor: Predictor, arrays: Arrays, config: PredictConfig) -> Found:
    """Return the arrays to draw the prediction as a curve, if an input is a single number and the training
    part is there; else none."""
    if arrays.x_test.shape[1:] != (1,) or predictor.target.label_shape or not len(arrays.x_train):
        return {}
    x_train, x_test = arrays.x_train[:], arrays.x_test[:]
    train = {"x_train_T": x_train[:, 0], "y_train_T": arrays.y_train}
    grid = arrays.x_grid if arrays.x_grid is not None else _extended_grid(x_train)

    def reduce(draws: Mixture, _: slice) -> Found:
        return regression.moments(draws) | {"draws_SN": draws.mean_SN.astype(np.float32)}

    found = predictor.reduce_mixtures(grid, config.num_draws, reduce)
    found = {f"grid_{name[:-1]}G": values for name, values in found.items()}
    truth = {} if arrays.truth_grid is None else {"grid_truth_G": arrays.truth_grid}
    return train | found | truth | {"x_N": x_test[:, 0], "grid_x_G": grid[:, 0]}


def predict_ood(predictor: Predictor, ood: Arrays, config: PredictConfig, test: Found) -> Result:
    """Return the arrays of out-of-distribution data, their scores, and how well uncertainty separates them."""
    found = predictor.reduce_mixtures(
        ood.x_test, config.num_draws, lambda draws, at: regression.score_examples(draws, ood.y_test[at].reshape(-1))
    )
    separated = detection.measures(uncertainties(test), uncertainties(found))
    found, scores = score(found, ood.y_test)
    arrays = {f"ood_{name.replace('_N', '_M')}": values for name, values in found.items()}
    return arrays, scores | separated


def uncertainties(found: Found) -> Found:
    """Return the uncertainties by which an example can be left out or detected, by name, each [N]."""
    return {part: found[f"{part}_std_N"] for part in ("epistemic", "total")}


def selection(found: Found, y_N: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the areas under the curves of mean squared error over coverage, in squared units of the target."""
    known_N = has_label(y_N)
    loss_N = (found["mean_N"][known_N] - y_N[known_N].astype(np.float64)) ** 2
    return {
        name: {score.__name__: score(values_N[known_N], loss_N) for score in (selective.aurc, selective.excess_aurc)}
        for name, values_N in uncertainties(found).items() if values_N.any()
    }  # fmt: skip


def compare(found: Found, reference: Found) -> dict[str, float]:
    """Return how far the predictive mean and the epistemic variance are from a reference's, in units of the target."""
    variances = (np.asarray(part["epistemic_std_N"], np.float64) ** 2 for part in (found, reference))
    return {
        "rms_difference_of_means": regression.rmse(found["mean_N"], reference["mean_N"]),
        **fidelity.compare_epistemic(*variances),
    }


def text(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    lines = [f"{name:24} {report[name]:.4f}" for name in SHOWN if name in report]
    lines += [f"{part + ' std':24} {report[f'{part}_std']:.4f}" for part in PARTS]
    ood = report.get("ood", {})
    shown = ("rmse", "nll", *detection.NAMES)
    return lines + [f"ood {name:20} {value:.4f}" for name, value in ood.items() if name.startswith(shown)]


def _extended_grid(x_train: np.ndarray) -> np.ndarray:
    """Return a grid [G, 1] over the range of the training inputs, extended by that range on both sides."""
    low, high = float(x_train.min()), float(x_train.max())
    return np.linspace(2 * low - high, 2 * high - low, 601, dtype=np.float32)[:, None]
