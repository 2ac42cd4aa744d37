"""Layers against their definition: every kind of weight gives the distribution that it should, and its gradient.

For a layer that is linear in its weights, y = J w + b with w ~ N(loc, scale^2): y has mean J loc + b and covariance
J diag(scale^2) J^T. Flipout and local reparameterisation keep that within an example and have none between
examples. Statistical tests have fixed seeds and bounds of RARE standard errors (8e-11 false fails per number).
"""

import functools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from oracles import RARE, correlate_same, covariance_z_scores, z_scores

from bnn_hvd import seeds
from bnn_hvd.inference import mean_field
from bnn_hvd.models import layers
from bnn_hvd.models.layers import Flipout, LocalReparam

RANDOM = np.random.default_rng(0)
DRAWS = 10_000


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


class Case:
    """A layer with its input and the posterior of its kernel; two equal examples and one other."""

    def __init__(self, layer, x_shape: list[int], kernel_shape: list[int]):
        self.layer, self.shape = layer, kernel_shape
        self.size = int(np.prod(kernel_shape))
        one, other = normal(*x_shape), normal(*x_shape)
        self.x = np.stack([one, one, other])
        self.loc, self.log_scale = normal(self.size), 0.3 * normal(self.size) - 0.5
        self.bias = normal(kernel_shape[-1])

    def jacobian(self) -> np.ndarray:
        """Return J [examples, outputs of one, weights], column by column, from the oracle."""
        product = (lambda x, k: x @ k) if self.layer is layers.dense else correlate_same
        basis = np.eye(self.size).reshape(-1, *self.shape)
        return np.stack([product(self.x, kernel).reshape(len(self.x), -1) for kernel in basis], axis=-1)

    def mean(self) -> np.ndarray:
        y = self.jacobian() @ self.loc
        return y + np.tile(self.bias, y.shape[1] // len(self.bias))

    def covariance(self, between_examples: bool) -> np.ndarray:
        """Return the covariance of all outputs of all examples."""
        jacobian = self.jacobian()
        joined = jacobian.reshape(-1, self.size) * np.exp(self.log_scale)
        example = np.arange(len(joined)) // jacobian.shape[1]
        return joined @ joined.T * (between_examples | (example[:, None] == example))

    def output(self, estimator: str, loc, log_scale, seed) -> tf.Tensor:
        """Return the layer's output [examples, ...] for one draw of the noise."""
        perturbation, _ = mean_field.perturb(loc, log_scale, seed, tf.constant(1.0))
        loc, log_scale, perturbation = (tf.reshape(v, self.shape) for v in (loc, log_scale, perturbation))
        kernel = {
            "reparam": loc + perturbation,
            "flipout": Flipout(loc, perturbation, seed + [0, 1]),
            "local_reparam": LocalReparam(loc, log_scale, seed + [0, 1]),
        }[estimator]
        return self.layer(tf.constant(self.x), kernel, tf.constant(self.bias))


CASES = {
    "dense": Case(layers.dense, [4], [4, 3]),
    "conv1": Case(layers.conv, [3, 4, 1], [3, 3, 1, 2]),
    "conv3": Case(layers.conv, [3, 3, 3], [2, 3, 3, 2]),
}
PAIRS = [
    (name, estimator)
    for name in CASES
    for estimator in ("reparam", "flipout", "local_reparam")
    if name == "dense" or estimator != "local_reparam"
]


def over_seeds(function, count: int, stream: int):
    """Return function(seed) for `count` seeds, computed in one graph."""
    all_seeds = tf.constant(np.stack([seeds.seed(1, "noise", stream, k) for k in range(count)]))
    example = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), function(all_seeds[0]))
    run = tf.function(lambda: tf.map_fn(function, all_seeds, fn_output_signature=example, parallel_iterations=1))
    return tf.nest.map_structure(lambda t: t.numpy(), run())


@functools.cache
def outputs(name: str, estimator: str) -> np.ndarray:
    """Return all outputs for each draw [DRAWS, examples x outputs]."""
    case = CASES[name]
    loc, log_scale = tf.constant(case.loc), tf.constant(case.log_scale)
    return over_seeds(lambda seed: case.output(estimator, loc, log_scale, seed), DRAWS, stream=0).reshape(DRAWS, -1)


@pytest.mark.parametrize(("name", "estimator"), PAIRS)
def test_mean_and_covariance_are_those_of_the_posterior(name, estimator):
    """Reparameterisation shares its noise between examples; the others do not, which is their point.

    It catches: signs that are not -1 or +1 (TFP's flipout: 7/3 of the variance, 90 standard errors off), signs
    shared by examples, noise of a convolution drawn per pixel, a variance in place of a standard deviation.
    """
    case, draws_KD = CASES[name], outputs(name, estimator)
    expected = case.mean().ravel()
    covariance = case.covariance(between_examples=estimator == "reparam")
    error = np.sqrt(np.diag(covariance) / DRAWS)
    assert np.abs((draws_KD.mean(0) - expected) / error).max() < RARE
    assert np.abs(covariance_z_scores(draws_KD, expected, covariance)).max() < RARE


@pytest.mark.parametrize(("name", "estimator"), PAIRS)
def test_gradients_are_unbiased(name, estimator):
    """For the loss L = sum c (y - t)^2 / 2: E[L] = sum c ((mean - t)^2 + variance) / 2, and so its gradient.

    It catches: a forgotten factor of the chain rule, a sign lost on the way back, a gradient through the seed.
    """
    case, count = CASES[name], 4000
    jacobian, mean = case.jacobian(), case.mean()
    weight, target = np.abs(normal(*mean.shape)), normal(*mean.shape)
    exact_loc = np.einsum("no,nop->p", weight * (mean - target), jacobian)
    exact_log_scale = np.einsum("no,nop->p", weight, jacobian**2) * np.exp(2 * case.log_scale)

    def gradients(seed):
        loc, log_scale = tf.constant(case.loc), tf.constant(case.log_scale)
        with tf.GradientTape() as tape:
            tape.watch([loc, log_scale])
            y = tf.reshape(case.output(estimator, loc, log_scale, seed), mean.shape)
            loss = tf.reduce_sum(weight * (y - target) ** 2) / 2
        return tape.gradient(loss, [loc, log_scale])

    to_loc, to_log_scale = over_seeds(gradients, count, stream=1)
    assert np.abs(z_scores(to_loc, exact_loc)).max() < RARE
    assert np.abs(z_scores(to_log_scale, exact_log_scale)).max() < RARE


def tfp_outputs(layer_name: str, case: Case) -> np.ndarray:
    """Return DRAWS outputs of TFP's layer with the posterior and bias of `case`."""
    import tensorflow_probability as tfp

    def posterior(_, shape, *__):
        scale = np.exp(case.log_scale.reshape(shape))
        return tfp.distributions.Independent(tfp.distributions.Normal(case.loc.reshape(shape), scale))

    common = {
        "kernel_posterior_fn": posterior,
        "kernel_divergence_fn": None,
        "bias_posterior_fn": lambda *_: tfp.distributions.Deterministic(case.bias),
        "bias_divergence_fn": None,
    }
    kind = getattr(tfp.layers, layer_name)
    if case.layer is layers.dense:
        layer = kind(case.shape[-1], **common)
    else:
        layer = kind(case.shape[-1], tuple(case.shape[:2]), padding="same", **common)
    layer(case.x)
    tf.random.set_seed(3)
    run = tf.function(lambda: tf.map_fn(lambda _: layer(case.x), tf.range(DRAWS), fn_output_signature=tf.float32))
    return run().numpy().reshape(DRAWS, -1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["dense", "conv3"])
def test_reparameterisation_and_flipout_match_tfps_reparameterisation_in_distribution(name):
    """Two-sample Kolmogorov-Smirnov for every output; false-fail rate 1e-9 each, an sd off by 20 % fails."""
    case = CASES[name]
    reference = tfp_outputs("DenseReparameterization" if name == "dense" else "Convolution2DReparameterization", case)
    for estimator in ("reparam", "flipout", "local_reparam") if name == "dense" else ("reparam", "flipout"):
        columns = zip(outputs(name, estimator).T, reference.T, strict=True)
        statistics = [scipy.stats.ks_2samp(ours, theirs, method="asymp").statistic for ours, theirs in columns]
        assert max(statistics) < np.sqrt(-np.log(1e-9 / 2) / DRAWS)  # 0.046


@pytest.mark.filterwarnings("ignore")
def test_tfps_own_flipout_has_7_thirds_of_the_variance():
    """Its output signs are 2u - 1 with u uniform in [0, 2): E[t^2] = 7/3. This is why the layers are our own."""
    case = CASES["dense"]
    ratio = tfp_outputs("DenseFlipout", case).var(0) / np.diag(case.covariance(False))
    np.testing.assert_allclose(ratio, 7 / 3, rtol=0.1)
