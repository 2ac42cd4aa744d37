"""The log prior that comes with theta: its value and its gradient, against the plain formula."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from bnn_hvd.inference import log_prior as prior

SHAPES = [[1], [1000], [1, 7], [3, 1000], [2, prior.LARGE // 2 + 3]]  # a compiled loop computes the last


@pytest.mark.parametrize("prior_scale", [1.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient(shape, prior_scale):
    """The loss also depends on theta in another way, and weights the log prior of each member differently."""
    random = np.random.default_rng(0)
    values = random.normal(size=shape)
    theta, weights = tf.constant(values, tf.float32), random.normal(size=shape[:-1])
    slopes = random.normal(size=shape)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        same, log_prior = prior.with_log_prior(theta, prior_scale)
        loss = tf.reduce_sum(tf.constant(slopes, tf.float32) * same) + tf.reduce_sum(np.float32(weights) * log_prior)
    np.testing.assert_array_equal(same, theta)
    expected = scipy.stats.norm(scale=prior_scale).logpdf(values).sum(-1)
    np.testing.assert_allclose(log_prior, expected, rtol=1e-4)
    gradient = slopes - weights[..., None] * values / prior_scale**2
    np.testing.assert_allclose(tape.gradient(loss, theta), gradient, rtol=1e-4, atol=1e-5)
