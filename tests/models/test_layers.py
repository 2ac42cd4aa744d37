"""Layers against their definition: every kind of weight gives the distribution that it should, and its gradient.

For a layer that is linear in its weights, y = J w + b with w ~ N(loc, scale^2): y has mean J loc + b and covariance
J diag(scale^2) J^T. Flipout and local reparameterisation keep that within an example and have none between
examples. Statistical tests have fixed seeds and bounds of RARE standard errors (8e-11 false fails per number).
"""

import functools

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import tensorflow as tf
from oracles import RARE, correlate_same, covariance_z_scores, max_pool_same, z_scores

from bnn_hvd import seeds
from bnn_hvd.inference import mean_field
from bnn_hvd.models import layers
from bnn_hvd.models.layers import Flipout, LocalReparam

RANDOM = np.random.default_rng(0)
DRAWS = 10_000


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def dilated_same(x: np.ndarray, kernel: np.ndarray, dilation: int) -> np.ndarray:
    """Return the dilated correlation over time by its definition: [N, T, C], [width, C, out] -> [N, T, out].

    Zeros are on both sides, (width - 1) // 2 x dilation of them on the left.
    """
    width, times = len(kernel), x.shape[1]
    left = (width - 1) // 2 * dilation
    padded = np.pad(x, [(0, 0), (left, width * dilation), (0, 0)])
    return sum(padded[:, i * dilation :][:, :times] @ kernel[i] for i in range(width))


def dilated(x: tf.Tensor, kernel: layers.Kernel, bias: tf.Tensor) -> tf.Tensor:
    return layers.conv1d(x, kernel, bias, dilation=2)


ORACLES = {
    layers.dense: lambda x, kernel: x @ kernel,
    dilated: functools.partial(dilated_same, dilation=2),
    layers.conv1d: functools.partial(dilated_same, dilation=1),
}


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
        product = ORACLES.get(self.layer, correlate_same)
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
        *_, perturbation, _ = mean_field.perturb(loc, log_scale, seed, tf.constant(1.0))
        *_, variance, _ = mean_field.variance(loc, log_scale, tf.constant(1.0))
        loc, perturbation, variance = (tf.reshape(part, self.shape) for part in (loc, perturbation, variance))
        kernel = {
            "reparam": loc + perturbation,
            "flipout": Flipout(loc, perturbation, seed + [0, 1]),
            "local_reparam": LocalReparam(loc, variance, seed + [0, 1]),
        }[estimator]
        return self.layer(tf.constant(self.x), kernel, tf.constant(self.bias))


CASES = {
    "dense": Case(layers.dense, [4], [4, 3]),
    "conv1": Case(layers.conv, [3, 4, 1], [3, 3, 1, 2]),
    "conv3": Case(layers.conv, [3, 3, 3], [2, 3, 3, 2]),
    "time1": Case(layers.conv1d, [5, 1], [3, 1, 2]),
    "time2": Case(dilated, [7, 2], [2, 2, 3]),
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
    """Reparameterisation shares its noise between examples; the other estimators do not, which is their purpose.

    The test catches: signs that are not -1 or +1 (TFP's flipout: 7/3 of the variance, 90 standard errors off), signs
    shared by examples, noise of a convolution drawn per pixel, a variance in place of a standard deviation.
    """
    case, draws_KD = CASES[name], outputs(name, estimator)
    expected = case.mean().ravel()
    covariance = case.covariance(between_examples=estimator == "reparam")
    error = np.sqrt(np.diag(covariance) / DRAWS)
    assert np.abs((draws_KD.mean(0) - expected) / error).max() < RARE
    assert np.abs(covariance_z_scores(draws_KD, expected, covariance)).max() < RARE


@pytest.mark.parametrize(("name", "estimator"), PAIRS)
def test_the_signs_of_two_outputs_of_one_example_say_nothing_about_another(name, estimator):
    """The test takes the mean of the product of four outputs: of two equal examples with two output channels each.

    It is 1 with shared noise, about 1/4 for flipout without its output signs, and 0 with them.
    """
    outputs_KNC = outputs(name, estimator).reshape(DRAWS, 3, -1)[:, :2, :2] - CASES[name].mean()[:2, :2]
    products = np.prod(outputs_KNC / outputs_KNC.std(0), axis=(1, 2), dtype=np.float64)
    if estimator == "reparam":
        assert z_scores(products, 0) > 2 * RARE
    else:
        assert abs(z_scores(products, 0)) < RARE


@pytest.mark.parametrize(("name", "estimator"), PAIRS)
def test_gradients_are_unbiased(name, estimator):
    """For the loss L = sum c (y - t)^2 / 2: E[L] = sum c ((mean - t)^2 + variance) / 2, and so its gradient.

    The test catches: a forgotten factor of the chain rule, a sign lost on the way back, a gradient through the seed.
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


TFP_LAYERS = [
    ("dense", "DenseReparameterization"),
    ("dense", "DenseFlipout"),
    ("dense", "DenseLocalReparameterization"),
    ("conv3", "Convolution2DReparameterization"),
    ("conv3", "Convolution2DFlipout"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "tfp_layer"), TFP_LAYERS)
def test_every_estimator_matches_tfps_layers_in_distribution(name, tfp_layer):
    """Each output takes a two-sample Kolmogorov-Smirnov test (false-fail rate 1e-9); a scale 20 % off would fail."""
    reference = tfp_outputs(tfp_layer, CASES[name])
    for estimator in [estimator for case, estimator in PAIRS if case == name]:
        columns = zip(outputs(name, estimator).T, reference.T, strict=True)
        statistics = [scipy.stats.ks_2samp(ours, theirs, method="asymp").statistic for ours, theirs in columns]
        assert max(statistics) < np.sqrt(-np.log(1e-9 / 2) / DRAWS)  # 0.046


def test_the_bounds_would_catch_output_signs_that_are_continuous():
    """Signs 2u - 1 with u uniform in [0, 2), as a library has had them, give 7/3 of the variance of the noise."""
    case = CASES["dense"]
    eps = RANDOM.normal(size=(DRAWS, case.size)) * np.exp(case.log_scale)
    t = RANDOM.uniform(-1, 3, size=(DRAWS, 3))
    noise_KC = np.einsum("d,kdc->kc", case.x[0], eps.reshape(DRAWS, *case.shape)) * t
    covariance = case.covariance(False)[:3, :3]
    np.testing.assert_allclose(noise_KC.var(0) / np.diag(covariance), 7 / 3, rtol=0.15)
    assert np.abs(covariance_z_scores(noise_KC, np.zeros(3), covariance)).max() > 10 * RARE


SHARED_OR_NOT = [(x, kernel, bias) for x in (0, 1) for kernel in (0, 1) for bias in (0, 1)]


@pytest.mark.parametrize(("x_has", "kernel_has", "bias_has"), SHARED_OR_NOT)
@pytest.mark.parametrize("kind", ["dense", "conv", "pooled"])
def test_s_weight_samples_are_the_loop_over_them(kind, x_has, kernel_has, bias_has):
    """Where x, the kernel or the bias has an axis S, so has the output; each entry is that of a layer on its own."""
    samples, sizes = 3, {"dense": ([5, 4], [4, 6])}.get(kind, ([5, 7, 6, 2], [3, 3, 2, 4]))
    shapes = [*sizes, sizes[1][-1:]]
    arguments = [
        normal(samples, *shape) if has else normal(*shape)
        for shape, has in zip(shapes, (x_has, kernel_has, bias_has), strict=True)
    ]

    def oracle(x, kernel, bias):
        y = x @ kernel if kind == "dense" else correlate_same(x, kernel)
        return (max_pool_same(y) if kind == "pooled" else y) + bias

    function = layers.dense if kind == "dense" else functools.partial(layers.conv, pool=kind == "pooled")
    found = function(*map(tf.constant, arguments)).numpy()
    has = (x_has, kernel_has, bias_has)
    one = [oracle(*(a[s] if h else a for a, h in zip(arguments, has, strict=True))) for s in range(samples)]
    expected = np.stack(one) if any(has) else one[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("height_width", [(1, 1), (4, 4), (5, 4), (3, 7)])
@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_conv_is_the_same_correlation_and_flipout_without_noise_too(height_width, width, channels):
    """This also holds where the image is smaller than the kernel, or has an odd size when it is pooled."""
    x, kernel, bias = normal(2, *height_width, channels), normal(width, width, channels, 4), normal(4)
    expected = correlate_same(x, kernel)
    kernels = [tf.constant(kernel), Flipout(tf.constant(kernel), tf.zeros_like(kernel), tf.constant([1, 2], tf.int64))]
    for k in kernels:
        plain, pooled = layers.conv(tf.constant(x), k, bias), layers.conv(tf.constant(x), k, bias, pool=True)
        np.testing.assert_allclose(plain, expected + bias, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(pooled, max_pool_same(expected) + bias, rtol=1e-5, atol=1e-5)


def test_the_oracle_correlates_as_scipy_does():
    x, kernel = normal(1, 6, 5, 1), normal(3, 5, 1, 1)
    expected = scipy.signal.correlate2d(x[0, :, :, 0], kernel[:, :, 0, 0], mode="same")
    np.testing.assert_allclose(correlate_same(x, kernel)[0, :, :, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("x_has", "kernel_has", "bias_has"), SHARED_OR_NOT)
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("times", [1, 7, 12])
def test_conv1d_is_the_dilated_correlation_of_each_weight_sample(times, dilation, x_has, kernel_has, bias_has):
    has, shapes = (x_has, kernel_has, bias_has), ([5, times, 2], [4, 2, 3], [3])
    arguments = [normal(*[2] * one, *shape) for shape, one in zip(shapes, has, strict=True)]
    of_each = [[a[s] if h else a for a, h in zip(arguments, has, strict=True)] for s in range(2 if any(has) else 1)]
    expected = np.stack([dilated_same(x, kernel, dilation) + bias for x, kernel, bias in of_each])
    found = layers.conv1d(*map(tf.constant, arguments), dilation=dilation)
    np.testing.assert_allclose(found, expected if any(has) else expected[0], rtol=1e-5, atol=1e-5)
    pooled = layers.conv1d(*map(tf.constant, arguments), dilation=dilation, pool=4)
    assert pooled.shape[-2] == -(-times // 4)
    if times == 12:
        np.testing.assert_array_equal(pooled, found.numpy().reshape(*found.shape[:-2], 3, 4, 3).max(-2))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_before_a_convolution_over_time_masks_inputs(rate):
    """Of an input of ones and a kernel of width 1, the outputs are the masks times 1 / (1 - rate)."""
    seed = tf.constant([[1, 2], [1, 3]], tf.int64)
    kernel = layers.Dropout(tf.eye(3)[None], rate, seed)
    found = layers.conv1d(tf.ones([4, 50, 3]), kernel, tf.zeros([3])).numpy()
    assert found.shape == (2, 4, 50, 3)
    assert set(np.unique(found)) == ({1.0} if rate == 0 else {0.0, 2.0})
    assert abs(found.mean() - 1) < 6 / np.sqrt(found.size)


@pytest.mark.parametrize("lead", [[4], [3, 4]])
def test_flatten_joins_the_axes_of_an_example(lead):
    x = normal(*lead, 2, 3, 5)
    np.testing.assert_array_equal(layers.flatten(tf.constant(x), 3), x.reshape(*lead, 30))
    unknown = tf.function(lambda v: layers.flatten(v, 3), input_signature=[tf.TensorSpec([*lead[:-1], None, 2, 3, 5])])
    np.testing.assert_array_equal(unknown(x), x.reshape(*lead, 30))


def test_local_reparameterisation_of_an_input_of_zeros_has_a_finite_gradient():
    variance = tf.ones([4, 3])
    with tf.GradientTape() as tape:
        tape.watch(variance)
        kernel = LocalReparam(tf.ones([4, 3]), variance, tf.constant([1, 2], tf.int64))
        y = layers.dense(tf.zeros([2, 4]), kernel, tf.zeros(3))
    np.testing.assert_array_equal(tape.gradient(y, variance), np.zeros([4, 3]))


def test_wide_weight_samples_are_the_loop_over_them_and_so_are_their_gradients():
    x, kernel, bias, upstream = (tf.constant(normal(*shape)) for shape in ([7, 3], [2, 3, 4], [2, 4], [2, 7, 4]))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel, bias])
        wide, plain = layers.dense(x, layers.Wide(kernel), bias), layers.dense(x, kernel, bias)
        ours, theirs = (tf.reduce_sum(y * upstream) for y in (wide, plain))
    np.testing.assert_allclose(wide, plain, rtol=1e-5, atol=1e-6)
    for mine, its in zip(*(tape.gradient(sum_, [x, kernel, bias]) for sum_ in (ours, theirs)), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-5)
