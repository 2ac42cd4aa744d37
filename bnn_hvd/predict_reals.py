"""What `predict` writes of a regression, in the target's units. Legend: S draws, N examples, G points of the grid."""

from typing import Any

import numpy as np

from bnn_hvd import over_draws, regression, uncertainty
from bnn_hvd.config import PredictConfig
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.predictor import Predictor

Found = dict[str, np.ndarray]  # arrays by name, for predictive.npz
Result = tuple[Found, dict[str, Any]]  # and what is reported of them, for uncertainty.json

SHOWN = ("rmse", "nll", "crps", "calibration_error", "coverage_95", "two_sigma_coverage")
PARTS = ("total", "aleatoric", "epistemic")


def predict(
    predictor: Predictor, arrays: Arrays, config: PredictConfig
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of predictive.npz and the content of uncertainty.json, on every rank."""
    draws = predictor.mixture(arrays.x_test, config.num_draws)
    found = regression.moments(draws) | {"y_N": arrays.y_test, "pit_N": regression.pit(draws, arrays.y_test)}
    wanted = over_draws.Wanted.of(config)
    for name, values in wanted.statistics(draws.mean_SN).items():
        found[f"{name}_{'Q' * (name == 'quantiles')}N"] = values
    report = regression.summary(draws, arrays.y_test)
    report |= {f"{part}_std": float(np.sqrt(np.mean(found[f"{part}_std_N"] ** 2))) for part in PARTS}
    return found | wanted.labels() | curve(predictor, arrays, config), report


def curve(predictor: Predictor, arrays: Arrays, config: PredictConfig) -> Found:
    """Return what is needed to draw the prediction as a curve, if the inputs are single numbers."""
    if arrays.x_test.shape[1:] != (1,):
        return {}
    train = {"x_train_T": arrays.x_train[:, 0], "y_train_T": arrays.y_train}
    grid = arrays.x_grid if arrays.x_grid is not None else _around(arrays.x_train)
    draws = predictor.mixture(grid, config.num_draws)
    found = {f"grid_{name.replace('_N', '_G')}": values for name, values in regression.moments(draws).items()}
    truth = {} if arrays.truth_grid is None else {"grid_truth_G": arrays.truth_grid}
    return train | found | truth | {"grid_x_G": grid[:, 0], "grid_draws_SG": draws.mean_SN.astype(np.float32)}


def outside(predictor: Predictor, ood: Arrays, config: PredictConfig, inside: Found) -> Result:
    """Return the arrays of other data, their scores, and how well the epistemic part tells them from the test part."""
    draws = predictor.mixture(ood.x_test, config.num_draws)
    found = regression.moments(draws)
    arrays = {f"ood_{name.replace('_N', '_M')}": values for name, values in found.items()}
    separated = uncertainty.auroc(inside["epistemic_std_N"], found["epistemic_std_N"])
    return arrays, regression.summary(draws, ood.y_test) | {"auroc_epistemic": separated}


def text(report: dict[str, Any]) -> list[str]:
    """Return what `predict` prints."""
    lines = [f"{name:24} {report[name]:.4f}" for name in SHOWN]
    lines += [f"{part + ' std':24} {report[f'{part}_std']:.4f}" for part in PARTS]
    ood = report.get("ood", {})
    return lines + [f"ood {name:20} {ood[name]:.4f}" for name in ("rmse", "nll", "auroc_epistemic") if name in ood]


def _around(x_train: np.ndarray) -> np.ndarray:
    """Return points [G, 1] over the training part's range, and as far again to both sides."""
    low, high = float(x_train.min()), float(x_train.max())
    return np.linspace(2 * low - high, 2 * high - low, 601, dtype=np.float32)[:, None]
