"""Likelihoods against scipy, with and without an axis of weight samples."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from bnn_hvd.config import compose
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.errors import UserError
from bnn_hvd.inference import likelihoods
from bnn_hvd.inference.laplace import output_hessian
from bnn_hvd.inference.likelihoods import Bernoulli, Categorical, Gaussian
from bnn_hvd.metrics import normal_mixtures
from bnn_hvd.models.build import build_network
from bnn_hvd.targets import Classes, ImplicitRatings, RealValues, RealVectors

RANDOM = np.random.default_rng(0)
OUTPUTS_SNO = RANDOM.normal(size=[3, 5, 2]).astype(np.float32)
Y_N = RANDOM.normal(size=5).astype(np.float32)


def test_gaussian_with_its_own_noise_for_each_example():
    expected = -scipy.stats.norm.logpdf(Y_N, OUTPUTS_SNO[..., 0], np.exp(OUTPUTS_SNO[..., 1]))
    np.testing.assert_allclose(Gaussian().nll(tf.constant(OUTPUTS_SNO), Y_N), expected, rtol=1e-4)


def test_gaussian_with_fixed_noise():
    expected = -scipy.stats.norm.logpdf(Y_N, OUTPUTS_SNO[..., 0], 0.3)
    np.testing.assert_allclose(Gaussian(0.3).nll(tf.constant(OUTPUTS_SNO[..., :1]), Y_N), expected, rtol=1e-4)
    np.testing.assert_allclose(Gaussian(0.3).predictive(tf.constant(OUTPUTS_SNO[..., :1]))[..., 1], 0.3, rtol=1e-6)


def test_losses_and_scores_are_in_the_targets_own_units():
    """The density and the error are those of the target as it is given, although the network sees it standardised."""
    mean_N, log_scale_N, units = OUTPUTS_SNO[0, :, 0], OUTPUTS_SNO[0, :, 1], RealValues(mean=3.0, scale=20.0)
    own_N, own_mean_N, own_scale_N = (20 * part + 3 for part in (Y_N, mean_N, np.exp(log_scale_N) - 3 / 20))
    for config in (compose(), compose(likelihood="heteroscedastic")):
        likelihood = likelihoods.make(config.data, units)
        y_N, outputs = units.standardized(own_N), tf.constant(OUTPUTS_SNO[0])
        expected = -scipy.stats.norm.logpdf(own_N, own_mean_N, own_scale_N)
        np.testing.assert_allclose(likelihood.nll(outputs, y_N), expected, rtol=1e-4)
        rmse = np.sqrt(np.mean((own_N - own_mean_N) ** 2))
        np.testing.assert_allclose(likelihood.score(outputs, y_N)["rmse"], rmse, rtol=1e-4)
    fixed = likelihoods.make(compose(noise_scale=10.0).data, units).nll(tf.constant(OUTPUTS_SNO[0, :, :1]), y_N)
    np.testing.assert_allclose(fixed, -scipy.stats.norm.logpdf(own_N, own_mean_N, 10.0), rtol=1e-4)


@pytest.mark.parametrize("likelihood", [Categorical(), Gaussian()])
def test_weight_samples_side_by_side_are_what_they_are_alone(likelihood):
    y_N = tf.constant([0, 1, 1, 0, 1]) if isinstance(likelihood, Categorical) else tf.constant(Y_N)
    together = likelihood.nll(tf.constant(OUTPUTS_SNO), y_N)
    scores = likelihood.score(tf.constant(OUTPUTS_SNO), y_N)
    for s, outputs_NO in enumerate(OUTPUTS_SNO):
        np.testing.assert_allclose(together[s], likelihood.nll(tf.constant(outputs_NO), y_N), rtol=1e-5)
        for name, value in likelihood.score(tf.constant(outputs_NO), y_N).items():
            np.testing.assert_allclose(scores[name][s], value, rtol=1e-5)


@pytest.mark.parametrize("likelihood", [Categorical(), Gaussian()])
def test_the_total_is_the_sum_over_examples_and_so_is_its_gradient(likelihood):
    y_N = tf.constant([0, 1, 1, 0, 1]) if isinstance(likelihood, Categorical) else tf.constant(Y_N)
    outputs, weights_S = tf.constant(30 * OUTPUTS_SNO), tf.constant([1.0, -2.0, 0.5])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(outputs)
        total, summed = likelihood.total_nll(outputs, y_N), tf.reduce_sum(likelihood.nll(outputs, y_N), -1)
        ours, theirs = tf.reduce_sum(tf.cast(total, tf.float32) * weights_S), tf.reduce_sum(summed * weights_S)
    np.testing.assert_allclose(total, summed, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(ours, outputs), tape.gradient(theirs, outputs), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("likelihood", "outputs", "y"),
    [
        (Categorical(), [0.0, -1024 - 2.0**-13], 1),
        (Gaussian(1.0), [130.0], 0.0),
        (Bernoulli(), [1024 + 2.0**-13], -1),
        (Bernoulli(), [1024 + 2.0**-13] * 3, [-1, 0, -1]),
    ],
)
def test_a_total_between_two_neighbours_of_float32_is_found(likelihood, outputs, y):
    """The sum of 1536 = 3 * 2^9 equal numbers has more bits than float32, in whichever order they are added."""
    outputs = tf.tile(tf.constant([outputs]), [1536, 1])
    y = tf.constant(np.broadcast_to(y, outputs.shape if isinstance(likelihood, Bernoulli) else [1536]))
    y = tf.cast(y, tf.float32) if isinstance(likelihood, Gaussian) else y
    truth = 1536 * likelihood.nll(outputs, y).numpy()[0].astype(np.float64)
    assert abs(np.float32(truth) - truth) > 0.03
    np.testing.assert_array_equal(likelihood.total_nll(outputs, y), truth)


def test_an_extreme_log_scale_stays_a_number():
    outputs = tf.constant([[0.0, -1e6], [0.0, 1e6]])
    assert np.isfinite(Gaussian().nll(outputs, tf.constant([1.0, 1.0]))).all()


def test_learnt_noise_is_one_number_for_all_examples():
    config = compose(architecture="mlp", hidden=4, num_blocks=1)
    net = build_network(config, (1,), RealValues())
    assert net.num_parameters == (4 + 4) + 2 * (16 + 4) + (4 + 1) + 1
    assert "noise/value" in {p.name for p in net.deterministic}
    theta = tf.random.stateless_normal([2, net.num_parameters], [0, 1])
    outputs_SNO = net.apply(net.unflatten(theta), tf.constant([[0.1], [0.5], [2.0]])).numpy()
    assert outputs_SNO.shape == (2, 3, 2)
    noise_S = net.unflatten(theta)["noise/value"].numpy()
    np.testing.assert_array_equal(outputs_SNO[..., 1], np.broadcast_to(noise_S, [2, 3]))


def test_fixed_noise_is_in_the_targets_own_units():
    likelihood = likelihoods.make(compose(noise_scale=0.5).data, RealValues(mean=3.0, scale=2.0))
    assert likelihood.noise_scale == 0.25


def test_targets_may_be_learnt_as_they_are():
    y = np.array([1.0, 3.0, 8.0], np.float32)
    arrays = Arrays(y[:, None], y, y[:, None], y, num_classes=0, class_names=())
    assert arrays.target() == RealValues(4.0, float(np.std(y)))
    assert arrays.target(standardize=False) == RealValues()
    np.testing.assert_allclose(arrays.target().standardized(y), scipy.stats.zscore(y), rtol=1e-6)
    np.testing.assert_array_equal(RealValues().standardized(y), y)
    np.testing.assert_array_equal(Classes(9).standardized(y), y)


@pytest.mark.parametrize(("likelihood", "target"), [("heteroscedastic", RealValues()), ("", Classes(10))])
def test_fixed_noise_where_there_is_none_is_a_users_mistake(likelihood, target):
    with pytest.raises(UserError, match=r"--noise_scale=0\.5 is of --likelihood=gaussian"):
        target.likelihood(likelihood, 0.5)


@pytest.mark.parametrize(
    ("likelihood", "target"),
    [
        ("categorical", RealValues()), ("gaussian", Classes(10)), ("heteroscedastic", Classes(2)),
        ("bernoulli", Classes(2)), ("gaussian", ImplicitRatings(3)),
    ],
)  # fmt: skip
def test_a_likelihood_that_does_not_fit_the_data_is_a_users_mistake(likelihood, target):
    with pytest.raises(UserError, match="leave it out"):
        target.likelihood(likelihood)


UNITS = RealVectors(names=("a", "b", "c"), mean=(1.0, 0.0, -2.0), scale=(2.0, 1.0, 50.0))
COMPONENTS = 2


def mixture_of_scipy(outputs_O: np.ndarray, y_D: np.ndarray) -> float:
    """Return log p(y) from the definition: a lower triangular factor of each precision, in the target's own units."""
    logits, mean, log_diagonal, below = np.split(outputs_O.astype(np.float64), np.cumsum([2, 6, 6]))
    density = 0.0
    for k, weight in enumerate(np.exp(logits) / np.exp(logits).sum()):
        factor = np.diag(np.exp(log_diagonal[3 * k : 3 * k + 3]))
        factor[1, 0], factor[2, 0], factor[2, 1] = below[3 * k : 3 * k + 3]
        scale = np.diag(UNITS.scale)
        covariance = scale @ np.linalg.inv(factor.T @ factor) @ scale
        centre = mean[3 * k : 3 * k + 3] * UNITS.scale + UNITS.mean
        density += weight * scipy.stats.multivariate_normal.pdf(y_D, centre, covariance)
    return float(np.log(density))


def test_a_mixture_of_full_covariances_is_that_of_scipy():
    outputs = RANDOM.normal(size=[3, 5, UNITS.num_outputs("gaussian_mixture", COMPONENTS)]).astype(np.float32)
    y_ND = (RANDOM.normal(size=[5, 3]) * UNITS.scale + UNITS.mean).astype(np.float32)
    likelihood = likelihoods.make(compose(likelihood="gaussian_mixture", components=COMPONENTS).data, UNITS)
    found = likelihood.nll(tf.constant(outputs), UNITS.standardized(y_ND))
    expected = [[-mixture_of_scipy(one, y) for one, y in zip(of_draw, y_ND, strict=True)] for of_draw in outputs]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    packed = likelihood.predictive(tf.constant(outputs)).numpy()
    predicted = normal_mixtures.Mixtures.unpacked(packed, UNITS.mean, UNITS.scale)
    np.testing.assert_allclose(-normal_mixtures.log_densities(predicted, y_ND.astype(np.float64)), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gaussian", "heteroscedastic"])
def test_independent_noise_of_columns_is_the_sum_of_scalar_likelihoods(kind):
    outputs = RANDOM.normal(size=[4, 5, 6]).astype(np.float32)
    y_ND = RANDOM.normal(size=[5, 3]).astype(np.float32)
    together = likelihoods.make(compose(likelihood=kind).data, UNITS).nll(tf.constant(outputs), y_ND)
    each = [
        Gaussian(unit=unit).nll(tf.constant(outputs[..., [d, 3 + d]]), y_ND[:, d]) for d, unit in enumerate(UNITS.scale)
    ]
    np.testing.assert_allclose(together, sum(each), rtol=1e-4)


def test_the_noise_of_each_column_is_a_parameter_at_the_end():
    config = compose(architecture="linear", likelihood="gaussian")
    network = build_network(config, (4,), RealVectors.unscaled(tuple("abcdefghijklmnop")))
    assert (network.num_noise_scales, network.parameters[-1].shape) == (16, (16,))
    assert network.apply({p.name: tf.zeros(p.shape) for p in network.parameters}, tf.zeros([5, 4])).shape == (5, 32)


def test_the_curvature_of_a_mixture_has_no_negative_eigenvalue():
    """Of a mixture the Hessian has some; laplace takes products of gradients, which equal it in the mean."""
    likelihood = likelihoods.make(compose(likelihood="gaussian_mixture", components=COMPONENTS).data, UNITS)
    outputs = tf.constant(RANDOM.normal(size=[40, 20]).astype(np.float32))
    curvature = output_hessian(likelihood, outputs, tf.zeros([40, 3])).numpy()
    assert np.linalg.eigvalsh(curvature).min() > -1e-4 * np.abs(curvature).max()
    fixed = likelihoods.make(compose(likelihood="gaussian").data, UNITS)
    np.testing.assert_allclose(
        output_hessian(fixed, tf.zeros([1, 6]), tf.zeros([1, 3]))[0, :3, :3], np.eye(3), atol=1e-6
    )
