"""Conformal sets and intervals of a prediction (metrics/conformal.py).

Legend: N examples, C classes, B = 2 bounds of an interval.
"""

from typing import Any, NamedTuple

import numpy as np

from bnn_hvd.metrics import conformal
from bnn_hvd.prediction.predictor import Found

PREFIX = "conformal_"
REAL_SCORES = ("cqr", "scaled")
LIKELY = 0.99  # probability of the range in which the coverage that is seen should be


class Column(NamedTuple):
    """What the intervals of one real target are made of: central quantiles, mean and total standard deviation."""

    quantiles_NB: np.ndarray
    mean_N: np.ndarray
    std_N: np.ndarray

    def part(self, at_N: np.ndarray) -> "Column":
        return Column(*(values[at_N] for values in self))


def columns(found: Found) -> dict[str, Column]:
    """Return the real targets by the ending of their names: "" of a single one, else _NAME."""
    if "central_quantiles_BN" in found:
        return {"": Column(found["central_quantiles_BN"].T, found["mean_N"], found["total_std_N"])}
    parts = found["central_quantiles_NBD"], found["mean_ND"], found["total_std_ND"]
    return {f"_{name}": Column(*(part[..., d] for part in parts)) for d, name in enumerate(found["target_names"])}


def thresholds(found: Found, y: np.ndarray, part_N: np.ndarray, u_N: np.ndarray, coverage: float) -> dict[str, float]:
    """Return the threshold of each score, by name, from the calibration examples."""
    if "probs_NC" in found:
        part, at = (found["probs_NC"][part_N], u_N[part_N]), (np.arange(int(part_N.sum())), y[part_N])
        scores = {name: score(*part)[at] for name, score in conformal.CLASS_SCORES.items()}
    else:
        scores = {}
        for d, (ending, column) in enumerate(columns(found).items()):
            y_N, (quantiles_NB, mean_N, std_N) = _column_of(y, d)[part_N], column.part(part_N)
            scores[f"cqr{ending}"] = conformal.cqr(y_N, quantiles_NB)
            scores[f"scaled{ending}"] = conformal.scaled(y_N, mean_N, std_N)
    return {name: conformal.threshold(scores_N, coverage) for name, scores_N in scores.items()}


def regions(found: Found, thresholds: dict[str, float], u_N: np.ndarray) -> Found:
    """Return the sets [N, C] (bool) or the intervals [N, B] of all examples, by the name of their array."""
    if "probs_NC" in found:
        return {f"{PREFIX}{name}_NC": sets_NC for name, sets_NC in sets(found["probs_NC"], thresholds, u_N).items()}
    made: Found = {}
    for ending, (quantiles_NB, mean_N, std_N) in columns(found).items():
        cqr, scaled = thresholds[f"cqr{ending}"], thresholds[f"scaled{ending}"]
        made[f"{PREFIX}cqr{ending}_NB"] = conformal.cqr_interval(quantiles_NB, cqr)
        made[f"{PREFIX}scaled{ending}_NB"] = conformal.scaled_interval(mean_N, std_N, scaled)
    return made


def sets(probs_NC: np.ndarray, thresholds: dict[str, float], u_N: np.ndarray) -> dict[str, np.ndarray]:
    """Return the set of classes of each example, bool [N, C], by the name of the score."""
    return {name: conformal.CLASS_SCORES[name](probs_NC, u_N) <= limit for name, limit in thresholds.items()}


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
    scored = {name.removeprefix(PREFIX).rpartition("_")[0]: region[scored_N] for name, region in regions.items()}
    if "probs_NC" in found:
        return report | {name: conformal.sets_summary(sets_NC, y[scored_N]) for name, sets_NC in scored.items()}
    for d, (ending, column) in enumerate(columns(found).items()):
        own = _column_of(y, d)[scored_N], column.std_N[scored_N]
        report |= {name + ending: conformal.intervals_summary(scored[name + ending], *own) for name in REAL_SCORES}
    return report


def _column_of(y: np.ndarray, d: int) -> np.ndarray:
    return y if y.ndim == 1 else y[:, d]


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
