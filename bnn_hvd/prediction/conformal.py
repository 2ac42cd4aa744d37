"""Conformal sets and intervals of a prediction (metrics/conformal.py).

Legend: N examples, C classes, B = 2 bounds of an interval.
"""

from typing import Any

import numpy as np

from bnn_hvd.metrics import conformal
from bnn_hvd.prediction.predictor import Found

PREFIX = "conformal_"
LIKELY = 0.99  # probability of the range in which the coverage that is seen should be


def thresholds(found: Found, y: np.ndarray, part_N: np.ndarray, u_N: np.ndarray, coverage: float) -> dict[str, float]:
    """Return the threshold of each score, by name, from the calibration examples."""
    if "probs_NC" in found:
        part, at = (found["probs_NC"][part_N], u_N[part_N]), (np.arange(int(part_N.sum())), y[part_N])
        scores = {name: score(*part)[at] for name, score in conformal.CLASS_SCORES.items()}
    else:
        scores = {
            "cqr": conformal.cqr(y[part_N], found["central_quantiles_BN"].T[part_N]),
            "scaled": conformal.scaled(y[part_N], found["mean_N"][part_N], found["total_std_N"][part_N]),
        }
    return {name: conformal.threshold(scores_N, coverage) for name, scores_N in scores.items()}


def regions(found: Found, thresholds: dict[str, float], u_N: np.ndarray) -> Found:
    """Return the sets [N, C] (bool) or the intervals [N, B] of all examples, by the name of their array."""
    if "probs_NC" in found:
        return {
            f"{PREFIX}{name}_NC": conformal.CLASS_SCORES[name](found["probs_NC"], u_N) <= limit
            for name, limit in thresholds.items()
        }
    quantiles_NB = found["central_quantiles_BN"].T
    return {
        f"{PREFIX}cqr_NB": conformal.cqr_interval(quantiles_NB, thresholds["cqr"]),
        f"{PREFIX}scaled_NB": conformal.scaled_interval(found["mean_N"], found["total_std_N"], thresholds["scaled"]),
    }


def measures(
    regions: Found, found: Found, y: np.ndarray, scored_N: np.ndarray, coverage: float, num_calibration: int
) -> dict[str, Any]:
    """Return the coverage and the size of the regions of the scored examples, by the name of the score.

    likely_coverage: where the coverage is with a probability of LIKELY, if the scored examples are exchangeable with
    those of the calibration.
    """
    if not scored_N.any():
        return {"num_scored": 0}
    count = int(scored_N.sum())
    likely = conformal.likely_coverage(num_calibration, count, coverage, LIKELY)
    report: dict[str, Any] = {"num_scored": count, "likely_coverage": list(likely)}
    for name, region in regions.items():
        short = name.removeprefix(PREFIX).rpartition("_")[0]
        if name.endswith("NC"):
            report[short] = conformal.sets_summary(region[scored_N], y[scored_N])
        else:
            report[short] = conformal.intervals_summary(region[scored_N], y[scored_N], found["total_std_N"][scored_N])
    return report


def lines(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    if not report.get("num_scored"):
        return []
    low, high = report["likely_coverage"]
    found = [f"conformal, asked for {report['coverage']:g}: between {low:.4f} and {high:.4f} in {LIKELY:.0%} of cases"]
    for name, part in report.items():
        if isinstance(part, dict):
            found.append(f"{'conformal ' + name:24} {part['coverage']:.4f}; {_size(part)}")
    return found


def _size(part: dict[str, Any]) -> str:
    if "mean_width" in part:
        return f"mean width {part['mean_width']:.4g}"
    return f"mean size {part['mean_size']:.3f}; of the worst class {part['least_class_coverage']:.4f}"
