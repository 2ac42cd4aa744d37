"""Recalibrated predictions (metrics/calibration.py): a temperature for classes, a map of quantiles for a real target.

Legend: N examples, C classes, K knots, Q quantiles, B = 2 ends of an interval.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bnn_hvd.metrics import calibration, classification, conformal, regression
from bnn_hvd.prediction.predictor import Found, Result

CLASS_SCORES = (
    classification.nll, classification.brier, classification.ece, calibration.adaptive_ece, calibration.classwise_ece,
)  # fmt: skip
WIDTH = 0.9  # of the central interval whose width is compared
Quantiles = Callable[[np.ndarray], np.ndarray]  # levels [Q] -> quantiles of all examples [Q, N]


def temperature(found: Found, labels_N: np.ndarray, part_N: np.ndarray) -> float:
    """Return the temperature that fits the calibration examples best."""
    return calibration.fit_temperature(found["probs_NC"][part_N], labels_N[part_N])


def at_temperature(found: Found, labels_N: np.ndarray, scored_N: np.ndarray, temperature: float) -> Result:
    """Return the probabilities at a temperature, and the scores of the scored examples before and after."""
    probs_NC = calibration.tempered(found["probs_NC"], temperature).astype(np.float32)
    report: dict[str, Any] = {"temperature": temperature, "num_scored": int(scored_N.sum())}
    if scored_N.any():
        for when, its_NC in (("before", found["probs_NC"]), ("after", probs_NC)):
            report[when] = {score.__name__: score(its_NC[scored_N], labels_N[scored_N]) for score in CLASS_SCORES}
    return {"calibrated_probs_NC": probs_NC}, report


def quantile_map(found: Found, part_N: np.ndarray) -> list[float]:
    """Return the knots [K] of the map that fits the calibration examples."""
    return calibration.fit_quantile_map(found["pit_N"][part_N]).tolist()


def mapped(found: Found, scored_N: np.ndarray, map_K: np.ndarray, levels: list[float], quantiles: Quantiles) -> Result:
    """Return the recalibrated quantiles (of `levels`) and distribution functions at the targets, and the calibration
    of the scored examples before and after."""
    central = np.array(conformal.central_levels(WIDTH))
    asked = calibration.predicted_level(np.array(levels), map_K)
    after = calibration.predicted_level(central, map_K)
    found_QN = quantiles(np.concatenate([asked, central, after]))  # at once: it is a pass over all draws
    arrays: Found = {"calibrated_quantiles_QN": found_QN[: len(levels)]} if levels else {}
    report: dict[str, Any] = {"num_scored": int(scored_N.sum())}
    if scored_N.any():
        arrays["calibrated_pit_N"] = pit_N = calibration.observed_level(found["pit_N"], map_K)
        report["before"] = _measures(found["pit_N"][scored_N], found_QN[len(levels) : -2, scored_N])
        report["after"] = _measures(pit_N[scored_N], found_QN[-2:, scored_N])
    return arrays, report


def _measures(pit_N: np.ndarray, central_BN: np.ndarray) -> dict[str, float]:
    covered = {f"coverage_{round(100 * level)}": regression.coverage(pit_N, level) for level in regression.LEVELS}
    width = float(np.mean(central_BN[1] - central_BN[0]))
    return {"calibration_error": regression.calibration_error(pit_N), **covered, "width_90": width}


def lines(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    if not report.get("num_scored"):
        return []
    what = f"at temperature {report['temperature']:.3f}" if "temperature" in report else "by the map of quantiles"
    after = [f"{name} {value:.4f} (was {report['before'][name]:.4f})" for name, value in report["after"].items()]
    return [f"calibrated {what}, {report['num_scored']:,} other examples: {', '.join(after[:3])}"]
