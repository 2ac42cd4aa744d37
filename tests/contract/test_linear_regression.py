"""Bayesian linear regression, whose posterior and evidence have a closed form: every method is compared with it.

y = Phi w + N(0, noise^2), w ~ N(0, prior^2), Phi the inputs with a column of ones for the bias (Bishop 2006, 3.3, 3.5).
The posterior has precision A = I / prior^2 + Phi^T Phi / noise^2 and mean m = A^-1 Phi^T y / noise^2. The best
mean-field Normal has mean m and variances 1 / diag(A); with orthogonal columns that is the exact posterior.
Statistical tests have fixed seeds and bounds of RARE standard errors (8e-11 false fails per number).
"""

import functools

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import tensorflow as tf
from oracles import RARE, covariance_z_scores, draws, z_scores

from bnn_hvd import registry, seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.likelihoods import Categorical
from bnn_hvd.inference.vi import ESTIMATORS
from bnn_hvd.models.network import Network
from bnn_hvd.training import schedules
from bnn_hvd.training.schedules import Place

NUM_TRAIN, NOISE, PRIOR = 16, 0.6, 0.8
DESIGNS = ["orthogonal", "correlated"]


class Problem:
    """Data, the exact posterior, and a linear network with a Gaussian likelihood."""

    def __init__(self, design: str):
        random = np.random.default_rng(4)
        phi = scipy.linalg.hadamard(NUM_TRAIN)[:, [1, 2, 5, 0]].astype(float)  # the last column is for the bias
        if design == "correlated":
            phi[:, :3] = phi[:, :3] @ np.array([[1, 0.6, 0.2], [0, 0.9, -0.5], [0, 0, 0.7]]) + [0.3, 0, -0.4]
        y = phi @ random.normal(size=4) * PRIOR + NOISE * random.normal(size=NUM_TRAIN)
        self.phi, self.x = phi, tf.constant(phi[:, :3], tf.float32)
        self.precision = np.eye(4) / PRIOR**2 + phi.T @ phi / NOISE**2
        self.mean = np.linalg.solve(self.precision, phi.T @ y / NOISE**2)
        self.scale = 1 / np.sqrt(np.diag(self.precision))
        covariance = NOISE**2 * np.eye(NUM_TRAIN) + PRIOR**2 * phi @ phi.T
        self.log_evidence = scipy.stats.multivariate_normal(np.zeros(NUM_TRAIN), covariance).logpdf(y)
        self.batch = Batch(self.x, tf.range(NUM_TRAIN))  # labels are integers: indices into the targets
        targets = tf.constant(y, tf.float32)

        class KnownNoise(Categorical):
            def nll(self, outputs, y_N):
                error = (outputs[..., 0] - tf.gather(targets, y_N)) / NOISE
                return 0.5 * error**2 + 0.5 * np.log(2 * np.pi * NOISE**2)

        network = Network(lambda net, x: net.dense("linear", x, 1), (3,), 1, "all", bayesian_biases=True)
        assert [p.name for p in network.parameters] == ["linear/kernel", "linear/bias"]
        self.make = lambda name, estimator="flipout", **flags: registry.load(registry.METHODS, name)(
            network, KnownNoise(), NUM_TRAIN, Solo(),
            compose(method=name, estimator=estimator, prior_scale=PRIOR, init_scale=0.1, **flags),
        )  # fmt: skip


problem = functools.cache(Problem)


def train(method, state, batch: Batch, steps: int) -> None:
    """Train with Adam, with a learning rate that falls so far that the noise averages out.

    Under vi and ivon, the steps of the standard deviations follow their schedule.
    """

    @tf.function
    def loop(seeds_T2, rate_T, scale_rate_T, scale_ceiling_T):
        for t in tf.range(steps):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            method.step(
                state, batch, Controls(seeds_T2[t], rate_T[t], tf.constant(1.0), scale_rate_T[t], scale_ceiling_T[t])
            )

    all_seeds = np.stack([seeds.seed(0, "noise", 0, t) for t in range(steps)])
    places = [Place(part, part, 1 / steps) for part in np.arange(steps) / steps]
    of_scales = [[course(place) for place in places] for course in (schedules.scale_rate, schedules.scale_ceiling)]
    courses = np.geomspace(0.1, 5e-5, steps), *of_scales
    loop(tf.constant(all_seeds), *(tf.constant(course, tf.float32) for course in courses))


@pytest.mark.parametrize("name", ["point", "mc_dropout", "swag"])  # mc_dropout drops no inputs of the first layer
@pytest.mark.parametrize("design", DESIGNS)
def test_point_finds_the_mode(design, name):
    """The mode is the ridge solution; with the prior counted per example, not per data set, it would be 20 % off."""
    p = problem(design)
    method = p.make(name, swag_start_steps=900, swag_every_steps=5)
    state = method.init(seeds.seed(0, "init"))
    train(method, state, p.batch, 1000)
    np.testing.assert_allclose(method.marginals(state)[0], p.mean, rtol=1e-3, atol=1e-4)


def assert_finds_the_best_mean_field_posterior(p: Problem, method) -> None:
    state = method.init(seeds.seed(0, "init"))
    train(method, state, p.batch, 4000)
    loc, scale = method.marginals(state)
    assert np.abs((loc - p.mean) / p.scale).max() < 0.1
    np.testing.assert_allclose(scale, p.scale, rtol=0.1)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_vi_finds_the_best_mean_field_posterior(estimator, design):
    """The noise of training leaves errors of about 2 % (of a standard deviation, of a scale); the test allows 10 %.

    A factor of two in the KL or in the likelihood would change the scale by 40 %.
    """
    p = problem(design)
    assert_finds_the_best_mean_field_posterior(p, p.make("vi", estimator))


@pytest.mark.parametrize("beta2", [0.0, 0.999])
@pytest.mark.parametrize("design", DESIGNS)
def test_ivon_finds_the_best_mean_field_posterior(design, beta2):
    """The bounds are those of vi. With the mean over the data in place of their sum, the scale would be 4 times off."""
    p = problem(design)
    assert_finds_the_best_mean_field_posterior(p, p.make("ivon", ivon_beta2=beta2))


@pytest.mark.parametrize("design", DESIGNS)
def test_the_particles_of_svgd_spread_as_the_posterior(design):
    """There are 40 particles in 4 dimensions: the mean is found to 0.1 standard deviations; SVGD's spread is too
    small, here by up to a quarter. Without the repulsion it would be 0, and without num_train twice as large."""
    p = problem(design)
    method = p.make("svgd", num_particles=40)
    state = method.init(np.stack([seeds.seed(0, "init", particle) for particle in range(40)]))
    train(method, state, p.batch, 1500)
    loc, scale = method.marginals(state)
    expected = np.sqrt(np.diag(np.linalg.inv(p.precision)))
    assert np.abs((loc - p.mean) / expected).max() < 0.1
    np.testing.assert_allclose(scale, expected, rtol=0.25)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("structure", ["full", "kron"])
def test_laplace_at_the_mode_is_the_posterior(structure, design):
    """Laplace is exact here: the log likelihood is quadratic in the weights, and the Kronecker factors are exact."""
    p, count = problem(design), 4000
    method = p.make("laplace", laplace_structure=structure)
    state = method.init(seeds.seed(0, "init"))
    state.params.assign(p.mean.astype(np.float32))
    train(method, state, p.batch, 2)
    draws_SN = method.draw(state, draws(range(count)))(p.x).numpy()[:, :4, 0]
    phi = p.phi[:4]
    z = covariance_z_scores(draws_SN, phi @ p.mean, phi @ np.linalg.inv(p.precision) @ phi.T)
    assert np.abs(z).max() < RARE
    assert np.abs(z_scores(draws_SN, phi @ p.mean)).max() < RARE


def at_the_exact_posterior(p: Problem, estimator: str):
    """Return (method, state) with q the exact posterior; all weights are Bayesian: params are [log scale, loc]."""
    method = p.make("vi", estimator)
    state = method.init(seeds.seed(0, "init"))
    state.params.assign(np.concatenate([np.log(p.scale), p.mean]).astype(np.float32))
    loc, scale = method.marginals(state)
    np.testing.assert_allclose(loc, p.mean, rtol=1e-6)
    np.testing.assert_allclose(scale, p.scale, rtol=1e-5)
    return method, state


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_at_the_exact_posterior_the_elbo_is_the_log_evidence(estimator):
    """The mean over 4,000 steps is known to 0.05 nats, at -21.2; a KL without its constant would be 2 nats off."""
    p = problem("orthogonal")
    method, state = at_the_exact_posterior(p, estimator)
    params = tf.constant(state.params)

    @tf.function
    def elbos(seeds_K2):
        def one(seed):
            return -NUM_TRAIN * method.step(state, p.batch, Controls(seed, tf.constant(0.0), tf.constant(1.0)))["loss"]

        return tf.map_fn(one, seeds_K2, fn_output_signature=tf.float32, parallel_iterations=1)

    values = elbos(tf.constant(np.stack([seeds.seed(1, "noise", 0, k) for k in range(4000)]))).numpy()
    assert values.std() / np.sqrt(len(values)) < 0.05
    assert abs(z_scores(values, p.log_evidence)) < RARE
    np.testing.assert_array_equal(state.params, params)


def test_the_draws_of_vi_have_the_mean_and_the_covariance_of_q():
    """1,000 draws are taken at once; variances in place of standard deviations would be 20 standard errors off."""
    p, count = problem("correlated"), 1000
    method, state = at_the_exact_posterior(p, "flipout")
    forward = method.draw(state, draws(range(count)))
    draws_SN = forward(p.x).numpy()[:, :, 0].astype(np.float64)
    assert np.abs(z_scores(draws_SN, p.phi @ p.mean)).max() < RARE
    expected = (p.phi * p.scale**2) @ p.phi.T
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / count)
    assert np.abs((np.cov(draws_SN.T) - expected) / error).max() < RARE


def test_every_draw_of_point_is_the_mode():
    p = problem("orthogonal")
    method = p.make("point", "flipout")
    state = method.init(seeds.seed(0, "init"))
    state.params.assign(p.mean.astype(np.float32))
    logits_SNC = method.draw(state, draws(range(3)))(p.x)
    np.testing.assert_allclose(logits_SNC[0, :, 0], p.phi @ p.mean, rtol=1e-4, atol=1e-5)


def linear_weights(method, state, count: int) -> np.ndarray:
    """Return the weights of the first draws [S, 4]: the outputs of the linear network at unit vectors, and at 0."""
    x = tf.constant(np.vstack([np.eye(3), np.zeros([1, 3])]), tf.float32)
    outputs_S4 = method.draw(state, draws(range(count)))(x).numpy()[:, :, 0].astype(np.float64)
    return np.hstack([outputs_S4[:, :3] - outputs_S4[:, 3:], outputs_S4[:, 3:]])


def log_likelihoods(p: Problem, method, state, count: int = 20) -> np.ndarray:
    outputs = method.draw(state, draws(range(count)))(p.x)
    return -method.likelihood.nll(outputs, p.batch.y).numpy().astype(np.float64).sum(1)


def log_ratios(p: Problem, method, state, count: int = 20) -> np.ndarray:
    """Return log p(w, data) - log q(w) of the first draws."""
    return method.log_ratios(state, draws(range(count)), log_likelihoods(p, method, state, count)).numpy()


def tempered(p: Problem, kl_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviations of the posterior of p(data | w)^(1 / kl_weight), for orthogonal inputs."""
    data_precision = p.precision - np.eye(4) / PRIOR**2
    precision = np.eye(4) / PRIOR**2 + data_precision / kl_weight
    return np.linalg.solve(precision, p.precision @ p.mean / kl_weight), 1 / np.sqrt(np.diag(precision))


@pytest.mark.parametrize("kl_weight", [1.0, 0.25])
@pytest.mark.parametrize("name", ["vi", "ivon"])
def test_at_the_exact_posterior_every_importance_ratio_is_the_evidence(name, kl_weight):
    """With kl_weight the exact posterior is a tempered one, and the ratios are equal; float32 is good to 1e-4 nats."""
    p = problem("orthogonal")
    method = p.make(name, kl_weight=kl_weight)
    assert method.num_random() == 4
    state = method.init(seeds.seed(0, "init"))
    mean, scale = tempered(p, kl_weight)
    if name == "vi":
        state.params.assign(np.concatenate([np.log(scale), mean]))
    else:
        state.params.assign(mean)
        state.slots["hess"].assign(kl_weight / NUM_TRAIN * (1 / scale**2 - 1 / PRIOR**2))
    found = log_ratios(p, method, state)
    np.testing.assert_allclose(found, found[0], atol=2e-4)
    if kl_weight == 1:
        np.testing.assert_allclose(found, p.log_evidence, atol=2e-4)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("structure", ["full", "kron"])
def test_every_importance_ratio_of_laplace_is_the_evidence(structure, design):
    p = problem(design)
    method = p.make("laplace", laplace_structure=structure)
    state = method.init(seeds.seed(0, "init"))
    state.params.assign(p.mean.astype(np.float32))
    train(method, state, p.batch, 2)
    np.testing.assert_allclose(log_ratios(p, method, state), p.log_evidence, atol=5e-4)


@pytest.mark.parametrize("prior", ["normal", "scale_mixture", "moped"])
def test_importance_ratios_are_those_of_the_densities(prior):
    p, random, norm = problem("correlated"), np.random.default_rng(0), scipy.stats.norm
    method = p.make("vi", prior=prior if prior != "moped" else "normal", prior_narrow_scale=0.1, prior_wide_weight=0.3)
    state, centre = method.init(seeds.seed(0, "init")), np.zeros(4)
    if prior == "moped":
        centre, method.centred = random.normal(size=4), True
        state.slots["prior_mean"] = tf.Variable(centre, dtype=tf.float32)
    loc, scale = random.normal(size=4), np.exp(random.normal(size=4))
    state.params.assign(np.concatenate([np.log(scale), loc]))
    w_S4 = linear_weights(method, state, 20)
    density_S4 = norm(centre, PRIOR).pdf(w_S4)
    if prior == "scale_mixture":
        density_S4 = 0.3 * density_S4 + 0.7 * norm(0, 0.1).pdf(w_S4)
    expected = log_likelihoods(p, method, state) + np.log(density_S4).sum(1) - norm(loc, scale).logpdf(w_S4).sum(1)
    np.testing.assert_allclose(log_ratios(p, method, state), expected, atol=1e-3)
