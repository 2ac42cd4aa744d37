"""What a shift of the data does to predictions: the scores of corrupted images (`predict --corrupt`).

Legend: N examples, C classes, K pairs of a corruption and a level.
"""

from typing import Any

import numpy as np

from bnn_hvd.config import PredictConfig
from bnn_hvd.data import corruptions
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.errors import UserError
from bnn_hvd.metrics.conformal import sets_summary
from bnn_hvd.prediction import classes, conformal
from bnn_hvd.prediction.calibration import Calibration
from bnn_hvd.prediction.predictor import Found, Predictor, Result
from bnn_hvd.targets import Classes, Target, has_label

CLEAN = "clean"
PREFIX = "corrupted_"
SCORES = ("accuracy", "nll", "brier", "ece", "total_uncertainty", "epistemic_uncertainty")


def check(config: PredictConfig, target: Target, example_shape: tuple[int, ...], y: np.ndarray) -> None:
    """Raise UserError unless the examples are images with classes, some of them with labels."""
    corruptions.parse(config.corrupt)
    corruptions.check_images(example_shape)
    if not isinstance(target, Classes):
        raise UserError(f"--corrupt scores predictions of classes, and this run has {target}: leave it out")
    if target.label_shape:
        raise UserError(f"--corrupt moves images, and not the labels of their pixels, as of {target}: leave it out")
    if not has_label(y).any():
        raise UserError("--corrupt scores predictions, and these examples have no labels: leave it out")


def predict(
    predictor: Predictor, arrays: Arrays, config: PredictConfig, clean: Found, calibration: Calibration | None
) -> Result:
    """Return the scores of the corrupted examples as arrays for predictive.npz, each [K], and as rows.

    The first row is that of the examples as they are. With a calibration, the conformal coverage is that of the
    examples that it was not made from, by the thresholds of examples as they are.
    """
    pairs, ends = corruptions.parse(config.corrupt), corruptions.value_range(arrays.x_test)
    one_draw = predictor.method.num_draws(config.num_draws) == 1
    rows = [_row(CLEAN, 0, clean, arrays.y_test, clean, calibration)]
    for name, level in pairs:
        x = corruptions.corrupted(arrays.x_test, name, level, ends)
        found = classes.distribution(predictor.predict(x, config.num_draws), one_draw)
        rows.append(_row(name, level, found, arrays.y_test, clean, calibration))
    columns = {f"{PREFIX}{name}_K": np.array([row[name] for row in rows]) for name in rows[0]}
    return columns, {"corrupted": rows}


def _row(
    name: str, level: int, found: Found, labels_N: np.ndarray, clean: Found, calibration: Calibration | None
) -> dict[str, Any]:
    """Return the scores of one corruption at one level."""
    measured = classes.measures(found, labels_N)
    row: dict[str, Any] = {"name": name, "level": level} | {score: measured[score] for score in SCORES}
    if calibration and calibration.coverage and "conformal_scored_N" in clean:
        scored_N, u_N = clean["conformal_scored_N"], calibration.uniform(len(labels_N))
        for score, sets_NC in conformal.sets(
            found["probs_NC"][scored_N], calibration.thresholds, u_N[scored_N]
        ).items():
            summary = sets_summary(sets_NC, labels_N[scored_N])
            row |= {f"coverage_{score}": summary["coverage"], f"mean_size_{score}": summary["mean_size"]}
    return row


def lines(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    found = []
    for row in report.get("corrupted", []):
        name = f"{row['name']}:{row['level']}" if row["level"] else CLEAN
        scores = "  ".join(f"{key} {row[key]:.4f}" for key in ("accuracy", "nll", "ece", "coverage_raps") if key in row)
        found.append(f"{name:24} {scores}")
    return found
