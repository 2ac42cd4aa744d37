"""The Pareto k-hat: against samples of a known shape, and Normals for which it is known."""

import numpy as np
import pytest
import scipy.stats

from bnn_hvd.metrics import pareto


@pytest.mark.parametrize("k", [-0.5, 0.0, 0.3, 0.7, 1.5, 4.0])
def test_the_shape_of_a_generalised_pareto_distribution(k):
    """Its standard error from T values is (1 + k) / sqrt(T): 0.004 to 0.04; the bias of the estimator is below that."""
    x = scipy.stats.genpareto.rvs(k, scale=3.0, size=16_000, random_state=np.random.default_rng(0))
    assert pareto.shape(np.sort(x)) == pytest.approx(k, abs=6.5 * (1 + k) / np.sqrt(len(x)))


def test_it_is_close_to_the_maximum_likelihood_fit_of_scipy():
    x = scipy.stats.genpareto.rvs(0.5, size=4000, random_state=np.random.default_rng(1))
    assert pareto.shape(np.sort(x)) == pytest.approx(scipy.stats.genpareto.fit(x, floc=0)[0], abs=0.01)


def log_ratios(variance: float, draws: int, seed: int = 0) -> np.ndarray:
    """Return log p - log q of draws of q = N(0, variance), where p = N(0, 1)."""
    x = np.random.default_rng(seed).normal(scale=np.sqrt(variance), size=draws)
    return 0.5 * (x**2 / variance - x**2 + np.log(variance))


@pytest.mark.parametrize("variance", [0.2, 0.4, 0.6])
def test_a_normal_that_is_too_narrow_has_a_tail_of_one_minus_its_variance(variance):
    """P(ratio > t) falls as t^(-1 / (1 - variance)), over a slowly varying factor that lowers k-hat by up to 0.1.

    Over 40 seeds with 100,000 draws, its standard deviation is 0.05.
    """
    found = np.mean([pareto.k_hat(log_ratios(variance, 100_000, seed)) for seed in range(40)])
    assert found == pytest.approx(1 - variance, abs=0.1)


def test_a_normal_that_is_too_broad_has_bounded_ratios():
    assert pareto.k_hat(log_ratios(2.0, 10_000)) < 0.3


def test_it_does_not_depend_on_the_unit_or_the_order_of_the_ratios():
    ratios = log_ratios(0.3, 1000)
    assert pareto.k_hat(ratios[::-1] - 5000) == pytest.approx(pareto.k_hat(ratios), rel=1e-9)


def test_it_grows_with_the_number_of_weights():
    """In many dimensions even a slightly narrow q has ratios that a few draws dominate."""
    ratios = np.stack([log_ratios(0.5, 1000, seed) for seed in range(1000)])
    one, many, most = (pareto.k_hat(ratios[:count].sum(0)) for count in (1, 30, 1000))
    assert one < 0.7 < many < most


def test_what_has_no_tail():
    assert pareto.k_hat(np.full(100, -3.0)) == -np.inf
    assert pareto.meaning(-np.inf).startswith("good")
    zeros = np.zeros(99)
    for ratios in (zeros[:24], np.append(zeros, np.nan), np.append(zeros, np.inf), zeros - np.inf):
        assert np.isnan(pareto.k_hat(ratios))
    assert pareto.meaning(np.nan).startswith("not defined")


@pytest.mark.filterwarnings("error")
def test_ratios_over_hundreds_of_orders_of_magnitude():
    random = np.random.default_rng(0)
    for spread in (10, 100, 1e3, 1e6):
        assert 3 < pareto.k_hat(random.normal(scale=spread, size=1000)) < np.inf
    assert pareto.k_hat(np.append(np.full(999, -np.inf), 0.0)) > 5


def test_the_thresholds():
    words = [pareto.meaning(k).split(":")[0] for k in (0.2, 0.49, 0.5, 0.69, 0.7, 3.0)]
    assert words == ["good", "good", "usable", "usable", "poor", "poor"]
