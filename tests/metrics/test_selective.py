"""Selective prediction against counting and closed forms."""

import itertools

import numpy as np
import pytest
from oracles import RARE

from bnn_hvd.metrics import selective

RNG = np.random.default_rng(0)


def test_risks_by_counting():
    uncertainty_N, loss_N = RNG.normal(size=40), RNG.integers(2, size=40)
    order = sorted(range(40), key=lambda n: uncertainty_N[n])
    expected = [sum(loss_N[n] for n in order[: k + 1]) / (k + 1) for k in range(40)]
    np.testing.assert_allclose(selective.risks(uncertainty_N, loss_N), expected)
    assert selective.aurc(uncertainty_N, loss_N) == pytest.approx(np.mean(expected))


def test_equal_uncertainties_are_in_random_order():
    """The risks are the means over all orders of the examples that are equally uncertain."""
    uncertainty_N, loss_N = np.array([2, 1, 2, 2, 3]), np.array([1, 0, 0, 0, 1])
    by_hand = []
    for middle in itertools.permutations([1, 0, 0]):
        by_hand.append(np.cumsum([0, *middle, 1]) / np.arange(1, 6))
    np.testing.assert_allclose(selective.risks(uncertainty_N, loss_N), np.mean(by_hand, axis=0))


def test_an_uncertainty_that_says_nothing_has_the_risk_of_all():
    loss_N = RNG.integers(2, size=200)
    np.testing.assert_allclose(selective.risks(np.zeros(200), loss_N), loss_N.mean())


def test_the_best_order_in_closed_form():
    """With error rate e and the errors last, it is the integral of 1 - (1 - e) / c over the coverages c above 1 - e."""
    count, rate = 100_000, 0.2
    loss_N = (np.arange(count) >= (1 - rate) * count).astype(float)
    found = selective.aurc(loss_N, loss_N)
    # Within a tie of zeros the risk is 0; within the tie of ones it is that of the closed form.
    assert found == pytest.approx(rate + (1 - rate) * np.log(1 - rate), abs=1e-4)
    assert selective.excess_aurc(loss_N, loss_N) == 0
    assert selective.excess_aurc(-loss_N, loss_N) > 0.5


def test_coverage_at_risk():
    loss_N = np.array([0, 0, 1, 0, 0, 0, 1, 1])
    order = np.arange(8)
    assert selective.coverage_at_risk(order, loss_N, 0.2) == 6 / 8  # 1 of 6; 1 of 3 is more, but comes before
    assert selective.coverage_at_risk(order, loss_N, 0.0) == 2 / 8
    assert selective.coverage_at_risk(-order, loss_N, 0.3) == 0
    assert selective.coverage_at_risk(order, loss_N, 1) == 1


def test_of_calibrated_probabilities_the_risk_is_known():
    """Labels are drawn from the confidence: its mean is the accuracy of what is kept, within RARE binomial errors."""
    confidence_N = RNG.uniform(0.5, 1, 50_000)
    loss_N = (RNG.uniform(size=50_000) > confidence_N).astype(float)
    risk = selective.risks(-confidence_N, loss_N)
    for kept in (5_000, 20_000, 50_000):
        expected = 1 - np.sort(confidence_N)[-kept:].mean()
        assert abs(risk[kept - 1] - expected) < RARE * np.sqrt(expected / kept)
