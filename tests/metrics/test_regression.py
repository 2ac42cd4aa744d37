"""Scores of a mixture of Normals against scipy, numerical integration and closed forms."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from oracles import RARE, z_scores

from bnn_hvd.metrics import regression
from bnn_hvd.metrics.regression import Mixture

RANDOM = np.random.default_rng(0)
MEAN_SN, SCALE_SN = RANDOM.normal(size=[7, 20]), RANDOM.uniform(0.3, 2, size=[7, 20])
DRAWS, Y = Mixture(MEAN_SN, SCALE_SN), RANDOM.normal(size=20)
NORMAL = scipy.stats.norm


def cdf(z: float, n: int) -> float:
    return float(np.mean(NORMAL.cdf(z, MEAN_SN[:, n], SCALE_SN[:, n])))


def test_the_density_is_the_mean_of_the_draws():
    density_N = NORMAL.pdf(Y, MEAN_SN, SCALE_SN).mean(0)
    np.testing.assert_allclose(regression.nll(DRAWS, Y), -np.log(density_N), rtol=1e-9)


def test_a_density_too_small_for_a_float_has_a_logarithm():
    far = regression.nll(Mixture(np.zeros([2, 1]), np.ones([2, 1])), np.array([100.0]))
    assert far == pytest.approx([5000.919], 1e-6)


LEVELS = (0.0, 1e-6, 0.05, 0.5, 0.77, 0.95, 1.0)


@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        (MEAN_SN, SCALE_SN),
        (MEAN_SN, np.full_like(SCALE_SN, 1e-3)),  # between narrow Normals the distribution function is flat
        (1e3 * MEAN_SN, np.geomspace(1e-3, 1e3, SCALE_SN.size).reshape(SCALE_SN.shape)),
        (MEAN_SN[:1], SCALE_SN[:1]),
        (np.repeat(MEAN_SN[:1], 7, 0), np.repeat(SCALE_SN[:1], 7, 0)),
    ],
)
def test_quantiles_invert_the_distribution_function(mean, scale):
    quantiles_QN = regression.quantiles(Mixture(mean, scale), LEVELS)
    for level, y_N in zip(LEVELS, quantiles_QN, strict=True):
        np.testing.assert_allclose(NORMAL.cdf(y_N, mean, scale).mean(0), level, rtol=1e-6, atol=1e-10)
    if len(mean) == 1:
        np.testing.assert_allclose(quantiles_QN, NORMAL.ppf(np.array(LEVELS)[:, None], mean, scale), rtol=1e-9)


def test_quantiles_cover_new_observations_as_they_say():
    """4,000 observations of the mixture itself: 90 % of them are between the quantiles, up to the binomial error."""
    count = 4000
    mean, scale = RANDOM.normal(size=[8, count]), RANDOM.uniform(0.3, 2, size=[8, count])
    draw = RANDOM.integers(8, size=count), np.arange(count)
    low, high = regression.quantiles(Mixture(mean, scale), (0.05, 0.95))
    y = RANDOM.normal(mean[draw], scale[draw])
    assert abs(np.mean((low < y) & (y < high)) - 0.9) < RARE * np.sqrt(0.9 * 0.1 / count)


def test_crps_is_the_integral_of_the_squared_difference_of_distribution_functions():
    def one(n: int) -> float:
        below = scipy.integrate.quad(lambda z: cdf(z, n) ** 2, -30, Y[n])[0]
        return below + scipy.integrate.quad(lambda z: (1 - cdf(z, n)) ** 2, Y[n], 30)[0]

    np.testing.assert_allclose(regression.crps(DRAWS, Y), [one(n) for n in range(20)], rtol=1e-5)
    even = regression.crps(Mixture(*(np.concatenate([part, part]) for part in DRAWS[:2])), Y)  # the same mixture
    np.testing.assert_allclose(even, [one(n) for n in range(20)], rtol=1e-5)


def test_crps_of_a_point_is_the_absolute_error():
    certain = Mixture(np.full([1, 3], 2.0), np.full([1, 3], 1e-12))
    np.testing.assert_allclose(regression.crps(certain, np.array([1.0, 2.0, 5.0])), [1, 0, 3], atol=1e-9)


def test_crps_of_many_draws_is_exact_and_of_more_unbiased(monkeypatch):
    """Many draws use all pairs. More of them use a part of the pairs: a z-score over 2,000 examples tests the bias."""
    mean, scale = 3 * RANDOM.normal(size=[40, 2000]), RANDOM.uniform(0.5, 1, size=[40, 2000])
    y = RANDOM.normal(size=2000)

    def size(mean, scale):  # E|Normal|, by scipy
        return scipy.stats.foldnorm.mean(np.abs(mean) / scale, scale=scale)

    pairs = size(mean[:, None] - mean, np.hypot(scale[:, None], scale)).mean(axis=(0, 1))
    all_pairs = size(y - mean, scale).mean(axis=0) - pairs / 2
    np.testing.assert_allclose(regression.crps(Mixture(mean, scale), y), all_pairs, rtol=1e-9)
    monkeypatch.setattr(regression, "MAX_SHIFTS", 4)
    part = regression.crps(Mixture(mean, scale), y)
    assert np.abs(part - all_pairs).max() > 1e-3
    assert abs(z_scores(part - all_pairs, 0)) < RARE


def test_examples_do_not_depend_on_what_is_beside_them():
    def all_of(draws, y):
        low, high = regression.quantiles(draws, (0.05, 0.95))
        return regression.score_examples(draws, y) | {"low": low, "high": high}

    whole = all_of(DRAWS, Y)
    for at in (slice(0, 13), slice(13, 20)):
        block = all_of(Mixture(MEAN_SN[:, at], SCALE_SN[:, at]), Y[at])
        assert {name: values.tobytes() for name, values in block.items()} == {
            name: values[at].tobytes() for name, values in whole.items()
        }


def test_total_variance_is_that_of_the_mixture():
    """It is the integral of (z - mean)^2 under the mixture's density."""
    found = regression.moments(DRAWS)
    np.testing.assert_allclose(found["total_std_N"] ** 2, found["aleatoric_std_N"] ** 2 + found["epistemic_std_N"] ** 2)
    z = np.linspace(-20, 20, 40001)
    density = NORMAL.pdf(z, MEAN_SN[:, :1], SCALE_SN[:, :1]).mean(0)
    variance = scipy.integrate.trapezoid((z - found["mean_N"][0]) ** 2 * density, z)
    assert found["total_std_N"][0] ** 2 == pytest.approx(variance, rel=1e-6)


def test_targets_of_the_mixture_itself_are_calibrated():
    """With 4,000 targets, coverage has a standard error of at most 0.008; RARE standard errors are allowed."""
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


def test_a_draw_of_twice_the_weight_counts_as_two():
    """Every score of weighted Normals is that of equal ones among which the heavier are repeated."""
    counts_S = np.array([1, 3, 2, 1, 1, 2, 1])
    weighted = Mixture(MEAN_SN, SCALE_SN, np.tile(counts_S[:, None] / counts_S.sum(), [1, 20]))
    repeated = Mixture(*(np.repeat(part, counts_S, axis=0) for part in (MEAN_SN, SCALE_SN)))
    for score in (regression.nll, regression.pit, regression.crps):
        np.testing.assert_allclose(score(weighted, Y), score(repeated, Y), rtol=1e-9)
    np.testing.assert_allclose(
        regression.quantiles(weighted, [0.05, 0.5, 0.9]), regression.quantiles(repeated, [0.05, 0.5, 0.9]), rtol=1e-9
    )
