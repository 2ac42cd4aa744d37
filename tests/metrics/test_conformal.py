"""Conformal sets and intervals: the coverage of 200 random splits against its exact distribution, and closed forms."""

import math

import numpy as np
import pytest
import scipy.stats
from oracles import RARE

from bnn_hvd.metrics import conformal

SPLITS, CALIBRATION, SCORED, COVERAGE = 200, 150, 170, 0.9
CENTRAL = scipy.stats.norm.ppf([0.1, 0.9])  # quantiles of a model that is wrong: they hold less than 90 %


def classes() -> tuple[np.ndarray, np.ndarray]:
    """Return predictions of an overconfident model, and labels from calmer probabilities."""
    rng = np.random.default_rng(0)
    logits_NC = 2 * rng.normal(size=[CALIBRATION + SCORED, 6])
    probs_NC, true_NC = (np.exp(scale * logits_NC) for scale in (1.5, 0.7))
    labels_N = (rng.uniform(size=[len(logits_NC), 1]) > np.cumsum(true_NC / true_NC.sum(1, keepdims=True), 1)).sum(1)
    return probs_NC / probs_NC.sum(1, keepdims=True), labels_N


def covered_by_sets(name: str) -> np.ndarray:
    """Return the number of labels in the sets for each random split of the same examples [SPLITS]."""
    probs_NC, labels_N = classes()
    found = []
    for split in range(SPLITS):
        rng = np.random.default_rng([1, split])
        order_N = rng.permutation(len(labels_N))
        scores_NC = conformal.CLASS_SCORES[name](probs_NC, rng.uniform(size=len(labels_N)))
        scores_N = scores_NC[np.arange(len(labels_N)), labels_N]
        threshold = conformal.threshold(scores_N[order_N[:CALIBRATION]], COVERAGE)
        rest_N = order_N[CALIBRATION:]
        summary = conformal.sets_summary(scores_NC[rest_N] <= threshold, labels_N[rest_N])
        found.append(round(SCORED * summary["coverage"]))
    return np.array(found)


def covered_by_intervals(name: str) -> np.ndarray:
    rng = np.random.default_rng(2)
    count = CALIBRATION + SCORED
    mean_N, std_N = rng.normal(size=count), rng.uniform(0.3, 3, count)
    y_N = mean_N + std_N * rng.standard_t(3, count)
    quantiles_NB = mean_N[:, None] + std_N[:, None] * CENTRAL
    found = []
    for split in range(SPLITS):
        order_N = np.random.default_rng([3, split]).permutation(count)
        first, rest = order_N[:CALIBRATION], order_N[CALIBRATION:]
        if name == "cqr":
            threshold = conformal.threshold(conformal.cqr(y_N[first], quantiles_NB[first]), COVERAGE)
            intervals_NB = conformal.cqr_interval(quantiles_NB[rest], threshold)
        else:
            threshold = conformal.threshold(conformal.scaled(y_N[first], mean_N[first], std_N[first]), COVERAGE)
            intervals_NB = conformal.scaled_interval(mean_N[rest], std_N[rest], threshold)
        found.append(round(SCORED * conformal.intervals_summary(intervals_NB, y_N[rest], std_N[rest])["coverage"]))
    return np.array(found)


@pytest.mark.parametrize(
    ("covered_by", "name"), [*((covered_by_sets, name) for name in conformal.CLASS_SCORES),
                             (covered_by_intervals, "cqr"), (covered_by_intervals, "scaled")],
)  # fmt: skip
def test_coverage_over_200_random_splits(covered_by, name):
    """Over random splits of fixed examples without ties, the covered number is exactly beta-binomial.

    Its mean is within RARE standard errors of the mean (of a sum of 200 nearly Normal numbers), and its distribution
    passes a chi-squared test at 1e-9 over the quintiles.
    """
    covered_S = covered_by(name)
    k = math.ceil((CALIBRATION + 1) * COVERAGE)
    expected = scipy.stats.betabinom(SCORED, k, CALIBRATION + 1 - k)
    assert abs(covered_S.mean() - expected.mean()) < RARE * expected.std() / np.sqrt(SPLITS)
    assert expected.mean() / SCORED >= COVERAGE
    edges = np.unique(expected.ppf([0.2, 0.4, 0.6, 0.8]))
    seen = np.bincount(np.searchsorted(edges, covered_S), minlength=len(edges) + 1)
    likely = SPLITS * np.diff([0, *expected.cdf(edges), 1])
    assert scipy.stats.chisquare(seen, likely).pvalue > 1e-9
    low, high = conformal.likely_coverage(CALIBRATION, SCORED, COVERAGE, 0.99)
    outside = int(np.sum((covered_S < SCORED * low - 0.5) | (covered_S > SCORED * high + 0.5)))
    assert scipy.stats.binom(SPLITS, 0.01).sf(outside - 1) > 1e-9


def test_the_threshold_is_the_kth_smallest_score():
    scores_N = np.random.default_rng(0).permutation(np.arange(1, 20))  # n = 19, (n + 1) 0.9 = 18
    assert conformal.threshold(scores_N, 0.9) == 18
    assert conformal.threshold(scores_N[scores_N < 10], 0.9) == 9  # (9 + 1) 0.9 = 9, in spite of rounding
    for coverage in (0.5, 0.8, 0.9, 0.95, 0.99):
        least = conformal.fewest(coverage)
        assert conformal.rank(least, coverage) <= least
        assert conformal.rank(least - 1, coverage) > least - 1


def test_the_likely_coverage_is_the_distribution_of_vovk():
    """With many scored examples, the bounds are those of Beta(k, n + 1 - k)."""
    low, high = conformal.likely_coverage(99, 20_000, 0.9, 0.9)
    assert (low, high) == pytest.approx(scipy.stats.beta(90, 10).interval(0.9), abs=1e-3)


def test_scores_of_classes_in_closed_form():
    probs_NC, u_N = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]]), np.array([0.0, 0.5])
    np.testing.assert_allclose(conformal.thr(probs_NC, u_N)[0], [0.8, 0.5, 0.7])
    np.testing.assert_allclose(conformal.aps(probs_NC, u_N), [[0.8, 0, 0.5], [0.9, 0.25, 0.65]])
    np.testing.assert_allclose(conformal.raps(probs_NC, u_N), [[1.0, 0, 0.6], [1.1, 0.25, 0.75]])


def test_equal_probabilities_have_different_scores():
    """Ties are in the order of the classes, so that a set of uniform probabilities has about coverage C classes."""
    np.testing.assert_allclose(conformal.aps(np.full([1, 4], 0.25), np.zeros(1)), [[0, 0.25, 0.5, 0.75]])


def test_summary_of_sets():
    sets_NC = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], bool)
    found = conformal.sets_summary(sets_NC, np.array([0, 0, 0, 1]))
    assert found["coverage"] == 0.75
    assert found["coverage_by_class"][:2] == [pytest.approx(2 / 3), 1.0]
    assert math.isnan(found["coverage_by_class"][2])
    assert found["least_class_coverage"] == pytest.approx(2 / 3)
    assert (found["mean_size"], found["empty"], found["single"]) == (1.0, 0.25, 0.5)


def test_summary_of_intervals():
    intervals_NB = np.array([[0, 1], [0, 2], [0, 3], [0, 10]], float)
    found = conformal.intervals_summary(intervals_NB, np.array([0.5, 3, 3, 4]), np.array([4.0, 3, 2, 1]))
    assert found == {
        "coverage": 0.75, "coverage_by_std_quarter": [1, 1, 0, 1], "mean_width": 4.0, "median_width": 2.5
    }  # fmt: skip


def test_an_interval_that_shrinks_to_nothing_is_its_middle():
    quantiles_NB = np.array([[0.0, 1.0], [0.0, 4.0]])
    np.testing.assert_allclose(conformal.cqr_interval(quantiles_NB, -1.0), [[0.5, 0.5], [1, 3]])
