"""The mean-field Normal: its noise, its KL, and their gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf
from oracles import RARE, kl_normal, z_scores

from bnn_hvd import noise, seeds
from bnn_hvd.inference import mean_field

SIZES = [1, 2, 7, 64, 1001]
PRIOR_SCALES = [1.0, 0.3, 2.5]


def posterior(size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return loc and log_scale, with scales from 0.01 to 3."""
    random = np.random.default_rng(size)
    loc, log_scale = random.normal(size=size), random.uniform(np.log(0.01), np.log(3), size=size)
    return tf.constant(loc, tf.float32), tf.constant(log_scale, tf.float32)


def seed(k: int = 0) -> tf.Tensor:
    return tf.constant(seeds.seed(2, "noise", 0, k))


@pytest.mark.parametrize("prior_scale", PRIOR_SCALES)
@pytest.mark.parametrize("size", SIZES)
def test_the_kl_is_the_closed_form(size, prior_scale):
    """All three functions that return the KL sum it over the weights, in nats."""
    loc, log_scale = posterior(size)
    expected = kl_normal(loc.numpy(), np.exp(log_scale.numpy().astype(np.float64)), prior_scale)
    prior = tf.constant(prior_scale)
    for kl in (
        mean_field.kl_to_prior(loc, log_scale, prior_scale),
        mean_field.perturb(loc, log_scale, seed(), prior)[-1],
        mean_field.variance(loc, log_scale, prior)[-1],
    ):
        assert kl.shape == ()
        assert float(kl) == pytest.approx(expected, rel=1e-5)


def test_the_kl_is_that_of_tensorflow_probability():
    import tensorflow_probability as tfp

    loc, log_scale = posterior(64)
    normal = tfp.distributions.Normal
    expected = tf.reduce_sum(tfp.distributions.kl_divergence(normal(loc, tf.exp(log_scale)), normal(0.0, 0.3)))
    assert float(mean_field.kl_to_prior(loc, log_scale, 0.3)) == pytest.approx(float(expected), rel=1e-5)


def test_the_kl_is_zero_at_the_prior_and_positive_elsewhere():
    def kl(loc: float, scale: float) -> float:
        return float(mean_field.kl_to_prior(tf.fill([10], loc), tf.fill([10], math.log(scale)), 0.5))

    assert kl(0.0, 0.5) == pytest.approx(0, abs=1e-5)
    assert min(kl(0.0, 0.4), kl(0.0, 0.6), kl(0.1, 0.5)) > 0.01


def test_the_kl_is_the_mean_log_ratio_over_draws():
    """200,000 draws, false-fail rate 8e-11. A KL without its -1/2 would be 1,000 standard errors off."""
    loc, log_scale = posterior(7)
    scale, prior_scale = np.exp(log_scale.numpy()), 0.7
    eps = np.random.default_rng(0).normal(size=[200_000, 7])
    w = loc.numpy() + scale * eps
    log_ratio = np.sum(-(eps**2) / 2 - np.log(scale) + w**2 / (2 * prior_scale**2) + np.log(prior_scale), axis=1)
    assert abs(z_scores(log_ratio, float(mean_field.kl_to_prior(loc, log_scale, prior_scale)))) < RARE


@pytest.mark.parametrize("size", SIZES)
def test_the_perturbation_is_the_scale_times_the_normals_of_the_seed(size):
    loc, log_scale = posterior(size)
    same_loc, perturbation, _ = mean_field.perturb(loc, log_scale, seed(), tf.constant(1.0))
    expected = np.exp(log_scale.numpy()) * noise.normals(seed(), size).numpy()
    assert perturbation.shape == (size,)
    np.testing.assert_array_equal(same_loc, loc)
    np.testing.assert_allclose(perturbation, expected, rtol=1e-5)
    _, again, _ = mean_field.perturb(loc, log_scale, seed(), tf.constant(1.0))
    _, other, _ = mean_field.perturb(loc, log_scale, seed(1), tf.constant(1.0))
    np.testing.assert_array_equal(again, perturbation)
    assert not np.any(other == perturbation)


def plain_kl(loc, log_scale, prior_scale):
    scale = tf.exp(log_scale)
    return tf.reduce_sum(tf.math.log(prior_scale / scale) + (scale**2 + loc**2) / (2 * prior_scale**2) - 0.5)


def both_gradients(function, plain, size: int) -> list[list[np.ndarray]]:
    """Return the gradients of a loss of loc, the output and the KL, by `function` and by autodiff of `plain`."""
    loc, log_scale = posterior(size)
    weight = np.random.default_rng(1).normal(size=size).astype(np.float32)
    found = []
    for compute in (function, plain):
        with tf.GradientTape() as tape:
            tape.watch([loc, log_scale])
            same_loc, output, kl = compute(loc, log_scale)
            loss = tf.reduce_sum(weight * tf.sin(output) + tf.cos(weight * same_loc)) + 0.37 * kl
        found.append([gradient.numpy() for gradient in tape.gradient(loss, [loc, log_scale])])
    return found


@pytest.mark.parametrize("prior_scale", PRIOR_SCALES)
@pytest.mark.parametrize("size", SIZES)
def test_the_gradients_of_perturb_are_those_of_the_plain_formula(size, prior_scale):
    prior, eps = tf.constant(prior_scale), noise.normals(seed(), size)
    found, expected = both_gradients(
        lambda loc, log_scale: mean_field.perturb(loc, log_scale, seed(), prior),
        lambda loc, log_scale: (loc, tf.exp(log_scale) * eps, plain_kl(loc, log_scale, prior)),
        size,
    )
    for ours, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prior_scale", PRIOR_SCALES)
@pytest.mark.parametrize("size", SIZES)
def test_the_gradients_of_variance_are_those_of_the_plain_formula(size, prior_scale):
    prior = tf.constant(prior_scale)
    found, expected = both_gradients(
        lambda loc, log_scale: mean_field.variance(loc, log_scale, prior),
        lambda loc, log_scale: (loc, tf.exp(log_scale) ** 2, plain_kl(loc, log_scale, prior)),
        size,
    )
    for ours, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


def test_no_bayesian_weights_have_no_kl():
    """A network of one layer has no Bayesian weights if only hidden layers are Bayesian."""
    nothing = tf.zeros([0])
    for _, output, kl in (
        mean_field.perturb(nothing, nothing, seed(), tf.constant(2.0)),
        mean_field.variance(nothing, nothing, tf.constant(2.0)),
    ):
        assert output.shape == (0,)
        assert float(kl) == 0
