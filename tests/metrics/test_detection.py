"""Detectors of out-of-distribution data against counting."""

import numpy as np
import pytest

from bnn_hvd.metrics import detection

RNG = np.random.default_rng(5)
IN, OUT = RNG.integers(0, 8, 83).astype(float), RNG.integers(2, 10, 61).astype(float)


def test_auroc_equals_counting_all_pairs_with_ties():
    wins = sum(1.0 if out > inside else 0.5 if out == inside else 0.0 for out in OUT for inside in IN)
    assert detection.auroc(IN, OUT) == pytest.approx(wins / (83 * 61), abs=1e-12)


def test_the_ends():
    low, high = np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])
    assert (detection.auroc(low, high), detection.auroc(high, low), detection.auroc(low, low)) == (1, 0, 0.5)
    assert (detection.fpr95(low, high), detection.fpr95(high, low)) == (0, 1)
    assert (detection.aupr(low, high), detection.aupr(np.zeros(2), np.zeros(3))) == (1, 0.6)


def test_fpr95_by_counting():
    """The lowest threshold that at least 95 % of the in-distribution examples do not exceed."""
    thresholds = sorted({*IN, *OUT})
    limit = next(t for t in thresholds if np.mean(t >= IN) >= 0.95)
    assert detection.fpr95(IN, OUT) == np.mean(limit >= OUT)
    hundred = np.arange(100.0)
    assert detection.fpr95(hundred, np.array([93.5, 94.0, 94.5])) == pytest.approx(2 / 3)


def test_aupr_by_counting():
    """The sum over thresholds, from high to low, of precision times the recall that it adds."""
    area, recall = 0.0, 0.0
    for threshold in sorted({*IN, *OUT}, reverse=True):
        flagged_out, flagged_in = np.sum(threshold <= OUT), np.sum(threshold <= IN)
        area += flagged_out / (flagged_out + flagged_in) * (flagged_out / 61 - recall)
        recall = flagged_out / 61
    assert detection.aupr(IN, OUT) == pytest.approx(area, abs=1e-12)


def test_the_area_under_the_curve_is_the_auroc():
    flagged_in, flagged_out = detection.roc(IN, OUT)
    assert np.trapezoid(flagged_out, flagged_in) == pytest.approx(detection.auroc(IN, OUT), abs=1e-12)


def test_measures_leave_out_what_is_zero_everywhere():
    found = detection.measures({"a": IN, "b": 0 * IN}, {"a": OUT, "b": 0 * OUT})
    assert list(found) == ["auroc_a", "fpr95_a", "aupr_a"]
    assert found["auroc_a"] == detection.auroc(IN, OUT)


def test_scores_that_are_no_numbers_have_no_measure():
    broken = np.array([np.nan, 1.0])
    assert all(np.isnan(value) for value in detection.measures({"a": broken}, {"a": OUT}).values())
