"""Scores of a mixture of Normals against scipy, numerical integration and closed forms."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from oracles import RARE

from bnn_hvd import regression
from bnn_hvd.regression import Mixture

RANDOM = np.random.default_rng(0)
MEAN_SN, SCALE_SN = RANDOM.normal(size=[7, 20]), RANDOM.uniform(0.3, 2, size=[7, 20])
DRAWS, Y = Mixture(MEAN_SN, SCALE_SN), RANDOM.normal(size=20)
NORMAL = scipy.stats.norm


def cdf(z: float, n: int) -> float:
    return float(np.mean(NORMAL.cdf(z, MEAN_SN[:, n], SCALE_SN[:, n])))


def test_the_density_is_the_mean_of_the_draws():
    density_N = NORMAL.pdf(Y, MEAN_SN, SCALE_SN).mean(0)
    assert regression.nll(DRAWS, Y) == pytest.approx(-np.log(density_N).mean(), rel=1e-9)


def test_a_density_too_small_for_a_float_has_a_logarithm():
    assert regression.nll(Mixture(np.zeros([2, 1]), np.ones([2, 1])), np.array([100.0])) == pytest.approx(
        5000.919, 1e-6
    )


def test_crps_is_the_integral_of_the_squared_difference_of_distribution_functions():
    def one(n: int) -> float:
        below = scipy.integrate.quad(lambda z: cdf(z, n) ** 2, -30, Y[n])[0]
        return below + scipy.integrate.quad(lambda z: (1 - cdf(z, n)) ** 2, Y[n], 30)[0]

    assert regression.crps(DRAWS, Y) == pytest.approx(np.mean([one(n) for n in range(20)]), rel=1e-5)


def test_crps_of_a_point_is_the_absolute_error():
    certain = Mixture(np.full([1, 3], 2.0), np.full([1, 3], 1e-12))
    assert regression.crps(certain, np.array([1.0, 2.0, 5.0])) == pytest.approx(4 / 3)


def test_total_variance_is_that_of_the_mixture():
    """Against the integral of (z - mean)^2 under the mixture's density."""
    found = regression.moments(DRAWS)
    np.testing.assert_allclose(found["total_std_N"] ** 2, found["aleatoric_std_N"] ** 2 + found["epistemic_std_N"] ** 2)
    z = np.linspace(-20, 20, 40001)
    density = NORMAL.pdf(z, MEAN_SN[:, :1], SCALE_SN[:, :1]).mean(0)
    variance = scipy.integrate.trapezoid((z - found["mean_N"][0]) ** 2 * density, z)
    assert found["total_std_N"][0] ** 2 == pytest.approx(variance, rel=1e-6)


def test_targets_of_the_mixture_itself_are_calibrated():
    """4,000 of them: coverage has a standard error of at most 0.008; RARE of them are allowed."""
    count = 4000
    mean, scale = RANDOM.normal(size=[5, count]), RANDOM.uniform(0.5, 2, size=[5, count])
    of, n = RANDOM.integers(5, size=count), np.arange(count)
    y = mean[of, n] + scale[of, n] * RANDOM.normal(size=count)
    pit = regression.pit(Mixture(mean, scale), y)
    for level in (0.5, 0.9):
        assert abs(regression.coverage(pit, level) - level) < RARE * np.sqrt(level * (1 - level) / count)
    assert regression.calibration_error(pit) < 0.02
    assert regression.calibration_error(regression.pit(Mixture(mean, 3 * scale), y)) > 0.1


def test_intervals_by_hand():
    pit = np.array([0.01, 0.3, 0.5, 0.99])
    assert regression.coverage(pit, 0.5) == 0.5
    assert regression.coverage(pit, 0.98) == 1.0
    np.testing.assert_allclose(regression.calibration(pit, np.array([0.1, 0.5, 0.995])), [0.25, 0.75, 1.0])
    found = {"mean_N": np.zeros(4), "total_std_N": np.ones(4)}
    assert regression.two_sigma_coverage(found, np.array([0.0, 1.9, -2.1, 3.0])) == 0.5
