"""R-hat and effective sample sizes: against series for which they are known, and against TensorFlow Probability."""

import numpy as np
import pytest
import tensorflow_probability as tfp

from bnn_hvd.metrics import mcmc


def autoregressive(correlation: float, chains: int = 4, count: int = 5000, seed: int = 0) -> np.ndarray:
    """Return chains [M, N] of variance 1, where successive draws have this correlation."""
    random = np.random.default_rng(seed)
    x = random.normal(size=[chains, count])
    for t in range(1, count):
        x[:, t] = correlation * x[:, t - 1] + np.sqrt(1 - correlation**2) * x[:, t]
    return x


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.5, 0.9])
def test_the_effective_sample_size_of_an_autoregression(correlation):
    """It is N (1 - rho) / (1 + rho), which 20,000 draws estimate to a few per cent."""
    x = autoregressive(correlation)
    expected = x.size * (1 - correlation) / (1 + correlation)
    assert mcmc.ess(x) == pytest.approx(expected, rel=0.15)
    assert mcmc.bulk_ess(x) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("correlation", [0.3, 0.8])
def test_the_effective_sample_size_is_close_to_tensorflow_probabilitys(correlation):
    """Theirs ends the sum of the autocorrelations at the first negative pair, and has no monotone sequence."""
    x = autoregressive(correlation)
    peer = tfp.mcmc.effective_sample_size(x.T, filter_beyond_positive_pairs=True, cross_chain_dims=1).numpy()
    assert mcmc.ess(x) == pytest.approx(peer, rel=0.1)


def test_r_hat_is_that_of_tensorflow_probability():
    x = autoregressive(0.5, count=100) + np.arange(4)[:, None] * 0.3
    peer = tfp.mcmc.potential_scale_reduction(x.T, split_chains=True).numpy()
    assert mcmc.plain_r_hat(mcmc.split(x)) ** 2 == pytest.approx(peer, rel=0.02)


def test_chains_that_agree_have_r_hat_one():
    assert mcmc.r_hat(autoregressive(0.5)) < 1.005


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x + np.array([0, 0, 0, 1])[:, None],  # another mean
        lambda x: x * np.array([1, 1, 1, 3])[:, None],  # another scale: the plain R-hat is 1
        lambda x: x + np.linspace(0, 2, x.shape[1]),  # all drift alike: the R-hat of unsplit chains is 1
    ],
    ids=["place", "spread", "drift"],
)
def test_chains_that_disagree_have_a_larger_one(spoil):
    assert mcmc.r_hat(spoil(autoregressive(0.5))) > 1.05


def test_it_is_invariant_under_monotone_maps_and_stands_infinite_variance():
    x = autoregressive(0.5)
    assert mcmc.r_hat(np.exp(3 * x)) == pytest.approx(mcmc.r_hat(x), abs=0.02)
    cauchy = np.random.default_rng(0).standard_cauchy([4, 2000])
    assert mcmc.r_hat(cauchy) < 1.01
    assert mcmc.bulk_ess(cauchy) == pytest.approx(8000, rel=0.15)


def test_slow_tails_are_seen():
    """The scale of x changes slowly, x itself quickly."""
    spread = np.exp(autoregressive(0.995))
    x = spread * np.random.default_rng(1).normal(size=spread.shape)
    assert mcmc.tail_ess(x) < 0.3 * mcmc.bulk_ess(x)


def test_too_little_to_say_anything_is_no_number():
    assert np.isnan(mcmc.r_hat(np.zeros([2, 100])))
    assert np.isnan(mcmc.r_hat(np.zeros([2, 1])))
    assert np.isnan(mcmc.ess(np.full([2, 100], np.nan)))


@pytest.mark.parametrize("chains", [1, 3])
@pytest.mark.parametrize("count", range(9))
@pytest.mark.parametrize("diagnostic", [mcmc.r_hat, mcmc.bulk_ess, mcmc.tail_ess, mcmc.ess, mcmc.plain_r_hat])
def test_every_diagnostic_takes_any_number_of_draws(diagnostic, count, chains):
    """A job that stops in burn-in has kept 0 draws, or 1: fewer than 4 are too few, 4 and more give a number."""
    x = np.random.default_rng(0).normal(size=[chains, count])
    needed = mcmc.FEWEST // 2 if diagnostic is mcmc.plain_r_hat else mcmc.FEWEST  # it does not split the chains
    with np.errstate(all="raise"):
        found = diagnostic(x)
    assert np.isfinite(found) == (count >= needed)
    for odd in (np.full_like(x, np.nan), np.full_like(x, np.inf), np.ones_like(x)):
        assert np.isnan(diagnostic(odd))
