"""Hamiltonian Monte Carlo: the integrator against exact orbits, the sharded target against the whole, the chain
against closed forms. Statistical tests have fixed seeds and bounds of RARE standard errors (8e-11 false fails per
number), from the effective sample size of the chain itself."""

import itertools

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp
from oracles import RARE, run_ranks

from bnn_hvd import seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference import hamiltonian
from bnn_hvd.inference.chunks import Chunks
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.draw_ring import chronological
from bnn_hvd.inference.ensemble import Ensemble
from bnn_hvd.inference.hmc import ACCEPT, Hmc
from bnn_hvd.inference.likelihoods import Categorical, Gaussian, Likelihood
from bnn_hvd.inference.log_posterior import Local, LogPosterior
from bnn_hvd.metrics import mcmc
from bnn_hvd.models.network import Network
from bnn_hvd.training import chain_report

RANDOM = np.random.default_rng(0)
NUM, FEATURES, CLASSES, CHAINS = 41, 5, 3, 2
X, Y = RANDOM.normal(size=[NUM, FEATURES]).astype(np.float32), RANDOM.integers(CLASSES, size=NUM).astype(np.int32)
NETWORK = Network(lambda net, x: net.dense("only", x, CLASSES), (FEATURES,), CLASSES)
SIZE = NETWORK.num_parameters
Q = tf.constant(RANDOM.normal(size=[CHAINS, SIZE]), tf.float32)
P = tf.constant(RANDOM.normal(size=[CHAINS, SIZE]), tf.float32)
STEP = tf.constant([0.05, 0.03])


def log_likelihood(theta, batch):
    return -Categorical().total_nll(NETWORK.apply(NETWORK.unflatten(theta), batch.x), batch.y)


def logistic(x=X, y=Y, cluster=None, chunk=NUM, threads=1) -> LogPosterior:
    examples = Batch(tf.constant(x), tf.constant(y))
    return LogPosterior(log_likelihood, examples, cluster or Solo(), 1.0, chunk_examples=chunk, threads=threads)


def nothing(scale: float) -> LogPosterior:
    """Return a target that is the prior alone: a harmonic oscillator of frequency 1 / scale."""
    return LogPosterior(
        lambda q, batch: tf.cast(0.0 * q[:, 0], tf.float64), Batch(tf.zeros([1, 1]), tf.zeros([1])), Solo(), scale
    )


def follow(target, q, p, step, count):
    return hamiltonian.leapfrog(target, target.evaluate(q), q, p, step, count)


def test_the_leapfrog_is_reversible_to_rounding():
    there = follow(logistic(), Q, P, STEP, 50)
    assert np.abs(there.q - Q).max() > 0.5
    back = follow(logistic(), there.q, -there.p, STEP, 50)
    np.testing.assert_allclose(back.q, Q, atol=3e-5)
    np.testing.assert_allclose(-back.p, P, atol=3e-5)


def test_the_energy_error_falls_as_the_square_of_the_step_size():
    errors = []
    for halving in range(4):
        step, count = STEP / 2.0**halving, 8 * 2**halving
        end = follow(logistic(), Q, P, step, count)
        errors.append(np.abs(hamiltonian.log_accept_ratio(logistic(), Q, P, end)))
    ratios = np.array(errors[:-1]) / errors[1:]
    assert np.all((ratios > 3.6) & (ratios < 4.4)), ratios


def test_an_oscillator_follows_its_orbit():
    """The leapfrog has its own orbit, with cos(angle) = 1 - (step / scale)^2 / 2, which is close to the true one."""
    scale, count = 0.7, 40
    step = STEP.numpy()[:, None].astype(np.float64)
    q, p = Q.numpy().astype(np.float64), P.numpy().astype(np.float64)
    end = follow(nothing(scale), Q, P, STEP, count)
    angle = np.arccos(1 - (step / scale) ** 2 / 2)
    stretch = scale / np.sqrt(1 - (step / scale) ** 2 / 4)
    np.testing.assert_allclose(end.q, q * np.cos(count * angle) + p * stretch * np.sin(count * angle), atol=2e-5)
    time = count * step / scale
    np.testing.assert_allclose(end.q, q * np.cos(time) + p * scale * np.sin(time), atol=5e-3)


def test_the_integrator_is_tensorflow_probabilitys():
    """Theirs differentiates the log posterior with a tape, which tests its custom gradient too."""
    peer = tfp.mcmc.internal.leapfrog_integrator.SimpleLeapfrogIntegrator(logistic(chunk=16), [STEP[:, None]], 20)
    momenta, positions, values, _ = peer([P], [Q])
    end = follow(logistic(), Q, P, STEP, 20)
    np.testing.assert_allclose(end.q, positions[0], atol=1e-5)
    np.testing.assert_allclose(end.p, momenta[0], atol=1e-5)
    change = values - logistic()(Q)
    ours = end.log_likelihood_change.numpy() + logistic().log_prior_change(Q, end.q).numpy()
    np.testing.assert_allclose(ours, change, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("chunk", [1, 16, 40, 41, 100])
def test_chunks_and_threads_change_nothing_but_the_rounding(chunk, threads):
    whole, parts = logistic().evaluate(Q), logistic(chunk=chunk, threads=threads).evaluate(Q)
    np.testing.assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(parts.gradient, whole.gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 20, 41])
def test_no_part_of_the_examples_is_empty(count):
    """A mean over no examples is not a number. A rank may have none, too."""
    chunks = Chunks(Batch(tf.zeros([count, 1]), tf.zeros([count])), size=1, threads=4)
    assert [i for part in chunks.parts for i in range(part.start, part.stop)] == list(range(count))
    assert all(part.start < part.stop for part in chunks.parts)
    total = chunks.sum(lambda batch: [tf.cast(tf.shape(batch.y)[:1], tf.float32)], [tf.zeros([1])])
    np.testing.assert_array_equal(total, [[count]])


def shards(size: int):
    """Return the examples of each rank, in uneven numbers."""
    cuts = [NUM * rank // size for rank in range(size + 1)]
    return [(X[a:b], Y[a:b]) for a, b in itertools.pairwise(cuts)]


def horovods_own_gradient(cluster):
    """Return a sum over ranks with the gradient that Horovod registers for it: the sum of the incoming gradients."""

    @tf.custom_gradient
    def total(x):
        return cluster.sum([x], "x")[0], lambda upstream: cluster.sum([upstream], "gradient")[0]

    return total


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_rank_has_the_value_and_the_gradient_of_the_whole_data(size):
    with tf.GradientTape() as tape:
        tape.watch(Q)
        value = logistic()(Q)
    gradient = tape.gradient(value, Q).numpy()

    def on_rank(cluster):
        target = logistic(*shards(size)[cluster.rank], cluster)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(Q)
            found = target(Q)
            total = horovods_own_gradient(cluster)(log_likelihood(Q, target.examples))
            wrong = tf.cast(total, tf.float32) - 0.5 * tf.reduce_sum(Q**2, -1)
        return found, tape.gradient(found, Q), wrong, tape.gradient(wrong, Q)

    for found, its_gradient, wrong, wrong_gradient in run_ranks(size, on_rank):
        np.testing.assert_allclose(found, value, rtol=1e-5)
        np.testing.assert_allclose(its_gradient, gradient, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(wrong, value, rtol=1e-5)  # the value does not reveal the mistake
        assert (np.abs(wrong_gradient - gradient).max() > 1) == (size > 1)


def test_two_ranks_make_the_trajectory_and_the_decisions_of_one():
    def on_rank(cluster):
        rank = getattr(cluster, "rank", 0)
        target = logistic(*shards(cluster.size)[rank], cluster)
        q, found = Q, []
        for step in range(5):
            stream = tf.constant(np.stack([seeds.seed(chain, "chain", step) for chain in range(CHAINS)]))
            p = target.momentum(stream, SIZE)
            end = follow(target, q, p, 6 * STEP, 10)
            acceptance = hamiltonian.metropolis(hamiltonian.log_accept_ratio(target, q, p, end), stream + [0, ACCEPT])
            q = tf.where(acceptance.accepted[:, None], end.q, q)
            found.append((q.numpy(), acceptance.accepted.numpy(), acceptance.probability.numpy()))
        return [np.array(part) for part in zip(*found, strict=True)]

    q, accepted, probability = on_rank(Solo())
    assert 0 < accepted.sum() < accepted.size  # both decisions occur
    for its_q, its_accepted, its_probability in run_ranks(2, on_rank):
        np.testing.assert_allclose(its_q, q, atol=1e-4)
        np.testing.assert_array_equal(its_accepted, accepted)
        np.testing.assert_allclose(its_probability, probability, atol=1e-3)


def test_the_accept_ratio_survives_large_sums():
    """200,000 examples have a log likelihood of -4e5: in float32 its value at the start alone would be 0.03 off.

    What remains is the rounding of each example, 3e-7 nats. If these errors were independent, their sum would be
    sqrt(200,000) times that, 1.3e-4. They are not quite independent, as all examples have the same weights; the bound
    is 15 times as large.
    """
    random, num = np.random.default_rng(1), 200_000
    x, y = random.normal(size=[num, FEATURES]), random.integers(CLASSES, size=num)
    target = logistic(x.astype(np.float32), y.astype(np.int32), chunk=4096)
    q, p = Q[:1], P[:1]
    end = follow(target, q, p, tf.constant([5e-5]), 10)
    exact = Batch(tf.cast(target.examples.x, tf.float64), target.examples.y)

    def log_joint(q, p):
        q, p = tf.cast(q, tf.float64), tf.cast(p, tf.float64)
        return log_likelihood(q, exact) - 0.5 * tf.reduce_sum(q**2 + p**2, -1)

    truth = log_joint(end.q, end.p) - log_joint(q, p)
    fast, slow = (hamiltonian.log_accept_ratio(target, q, p, end, float64) for float64 in (False, True))
    np.testing.assert_allclose(slow, truth, atol=1e-6)
    np.testing.assert_allclose(fast, truth, atol=2e-3)


@pytest.mark.parametrize("chunk", [1, 96, 1536])
def test_a_change_between_two_neighbours_of_float32_is_found(chunk):
    """Each of 1536 examples of 1024 nats changes by one ulp, all together by 0.1875.

    Around their sum, float32 has multiples of 0.125 only: a sum in float32 is off by 0.06, in whichever order the
    processor adds. Each example's own value is exact: -log softmax(0, -z) is z where exp(-z) is 0.
    """
    network = Network(lambda net, x: net.dense("only", x, 2), (1,), 2)

    def log_likelihood(q, batch):
        return -Categorical().total_nll(network.apply(network.unflatten(q), batch.x), batch.y)

    examples = Batch(tf.fill([1536, 1], 1024.0), tf.ones([1536], tf.int32))
    target = LogPosterior(log_likelihood, examples, Solo(), 1.0, chunk_examples=chunk)
    before, after = (np.zeros([1, network.num_parameters], np.float32) for _ in range(2))
    for q, weight in ((before, -1.0), (after, -np.nextafter(np.float32(1), np.float32(2)))):
        network.slices(q)["only/kernel"][0, 1] = weight
    start, end = target.evaluate(tf.constant(before)), target.evaluate(tf.constant(after))
    np.testing.assert_array_equal(start.here, -1536 * 1024.0)
    np.testing.assert_array_equal(target.log_likelihood_change(start, end), -0.1875)


def test_changes_of_ranks_are_added_up_in_float64():
    """They are 2^24 + 1 and -2^24: in float32 the first is 2^24, and the sum 0."""

    def on_rank(cluster):
        slope = tf.constant([[2.0**24 + 1, -(2.0**24)][cluster.rank]], tf.float64)
        target = LogPosterior(
            lambda q, batch: slope * tf.cast(q[:, 0], tf.float64), Batch(tf.zeros([1, 1]), tf.zeros([1])), cluster, 1.0
        )
        q, p = tf.zeros([1, 1]), tf.ones([1, 1])
        end = follow(target, q, p, tf.constant([1.0]), 1)
        return end.q.numpy(), end.log_likelihood_change.numpy()

    for q, change in run_ranks(2, on_rank):
        np.testing.assert_array_equal(change, q[:, 0])


def test_the_changes_of_prior_and_momenta_are_added_up_in_float64():
    """Each of 1280 coordinates has (p'^2 - p^2) / 2 = 512 (1 + 2^-10 + 2^-22); their sum in float32 is 1/32 off."""
    before, after = tf.zeros([1, 1280]), tf.fill([1, 1280], 32 * (1 + 2.0**-11))
    truth = 1280 * 512 * (1 + 2.0**-10 + 2.0**-22)
    assert abs(float(np.float32(truth)) - truth) == 1 / 32
    np.testing.assert_array_equal(nothing(1.0).kinetic_change(before, after), truth)
    np.testing.assert_array_equal(nothing(1.0).log_prior_change(before, after), -truth)


def test_a_log_likelihood_that_was_added_up_in_float32_is_refused():
    target = LogPosterior(
        lambda q, batch: tf.reduce_sum(q, -1), Batch(tf.zeros([1, 1]), tf.zeros([1])), Solo(), 1.0
    )  # fmt: skip
    with pytest.raises(AssertionError, match="in float64"):
        target.evaluate(Q)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_has_no_log_posterior_is_rejected_and_counted(bad):
    def walled(q, batch):
        return tf.cast(tf.where(q[:, 0] > 0.5, bad, 0.0 * q[:, 0]), tf.float64)

    target = LogPosterior(walled, Batch(tf.zeros([1, 1]), tf.zeros([1])), Solo(), 1.0)
    q = tf.zeros([2, 1])
    end = follow(target, q, tf.constant([[1.0], [-1.0]]), tf.constant([0.1, 0.1]), 12)
    acceptance = hamiltonian.metropolis(
        hamiltonian.log_accept_ratio(target, q, tf.ones([2, 1]), end), tf.zeros([2, 2], tf.int64)
    )
    assert acceptance.accepted.numpy().tolist() == [False, True]
    assert acceptance.divergent.numpy().tolist() == [True, False]
    assert np.isfinite(acceptance.probability).all()


def test_an_energy_that_is_far_off_is_a_divergence():
    acceptance = hamiltonian.metropolis(tf.constant([-999.0, -1001.0, 5000.0]), tf.zeros([3, 2], tf.int64))
    assert acceptance.divergent.numpy().tolist() == [False, True, False]
    assert acceptance.accepted.numpy().tolist() == [False, False, True]


def make(num_train=NUM, members=CHAINS, network=NETWORK, likelihood=None, **flags):
    config = {"hmc_burn_in_steps": 50, "hmc_kept_draws": 20, "hmc_step_size": 0.1, "hmc_leapfrog_steps": 8} | flags
    return Ensemble(
        Hmc(network, likelihood or Categorical(), num_train, Solo(), compose(method="hmc", **config)), range(members)
    )


def run(method, state, batch, steps: int, root: int = 0) -> None:
    controls = np.stack([seeds.seed(root, "chain", int(state.step) + t) for t in range(steps)])

    @tf.function(autograph=False)
    def step(seed):
        return method.step(state, batch, Controls(seed, tf.constant(0.0), tf.constant(1.0)))

    for seed in controls:
        step(tf.constant(seed))


BATCH = Batch(tf.constant(X), tf.constant(Y))


def test_the_step_size_adapts_to_the_acceptance_and_then_stays():
    method = make(hmc_burn_in_steps=150, hmc_kept_draws=150, hmc_target_accept=0.7, hmc_step_size=0.01)
    state = method.init(seeds.seed(0, "init"))
    run(method, state, BATCH, 300)
    trace = dict(zip(method.base.trace, np.moveaxis(state.slots["trace"].numpy(), -1, 0), strict=True))
    accept, step_size = trace["accept"][:, 150:], trace["step_size"]
    assert np.abs(accept.mean(1) - 0.7).max() < 0.18  # with the first step size it is 1
    assert np.all(step_size[:, 150:] == step_size[:, 150:151])
    # After the burn-in the step size is the averaged one, not the last one of the burn-in.
    np.testing.assert_allclose(step_size[:, -1], np.exp(state.slots["log_mean_step_size"]), rtol=1e-6)
    assert np.unique(step_size[0, :150]).size > 100


def test_lengths_are_jittered_around_theirs_and_the_same_for_all_chains():
    steps = [seeds.seed(0, "chain", step) for step in range(400)]
    offsets = np.array([[0, 0], [1, 0]])
    method = make(hmc_leapfrog_steps=10, hmc_jitter=0.5).base
    lengths = np.array([[method._length(tf.constant(step + offsets[m:])) for m in range(2)] for step in steps])
    assert set(lengths.ravel()) == set(range(5, 16))
    assert (lengths[:, 0] == lengths[:, 1]).all()
    assert abs(lengths.mean() - 10) < 6.5 * np.sqrt(100 / 12 / 400)  # false-fail rate 8e-11
    assert make(hmc_leapfrog_steps=10).base._length(steps[0]) == 10


def test_the_rings_keep_the_last_draws():
    method = make(hmc_burn_in_steps=4, hmc_kept_draws=3, hmc_keep_every_steps=2)
    state, visited = method.init(seeds.seed(0, "init")), []
    for step in range(14):
        run(method, state, BATCH, 1)
        visited.append(state.params.numpy())
        kept = [visited[t - 1] for t in range(6, step + 2, 2)]
        assert int(method.base.ring.num_kept(state.step)) == min(len(kept), 3)
        for place, theta in enumerate(kept):
            if place >= len(kept) - 3:
                np.testing.assert_array_equal(state.slots["draws"][:, place % 3], theta)
    assert not np.array_equal(visited[-1], visited[0])


def test_the_score_of_the_log_is_that_of_the_likelihood(monkeypatch):
    """With three threads and 13 examples each, one part of them would be empty; a regression has no accuracy."""
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 3)
    outputs = Network(lambda net, x: net.dense("only", x, 1), (FEATURES,), 1)
    for network, likelihood, y in ((NETWORK, Categorical(), Y), (outputs, Gaussian(0.5, 3.0), Y.astype(np.float32))):
        method = make(network=network, likelihood=likelihood, chunk_examples=8)
        state = method.init(seeds.seed(0, "init"))
        predicted = network.apply(network.unflatten(tf.convert_to_tensor(state.params)), X).numpy()
        scalars = method.step(
            state, Batch(tf.constant(X), tf.constant(y)),
            Controls(tf.constant(seeds.seed(0, "chain", 0)), tf.constant(0.0), tf.constant(1.0)),
        )  # fmt: skip
        assert ("accuracy" in scalars) == (network is NETWORK)
        if network is NETWORK:
            assert float(scalars["accuracy"]) == pytest.approx(np.mean(predicted.argmax(-1) == y), rel=1e-6)
        else:
            rmse_M = 3.0 * np.sqrt(np.mean((predicted[..., 0] - y) ** 2, -1))
            assert float(scalars["rmse"]) == pytest.approx(rmse_M.mean(), rel=1e-5)
            assert method.base.trace[1] == "rmse"


def standard_errors(draws_MKD: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over all draws, for each coordinate."""
    effective = np.array([mcmc.ess(draws) for draws in np.moveaxis(draws_MKD, -1, 0)])
    return draws_MKD.std((0, 1)) / np.sqrt(effective)


class KnownNoise(Categorical):
    """y ~ N(output, noise^2), for tests."""

    def __init__(self, noise):
        self.noise = noise

    def nll(self, outputs, y_N):
        return 0.5 * tf.square((tf.cast(y_N, outputs.dtype) - outputs[..., 0]) / self.noise)

    def total_nll(self, outputs, y_N):
        return Likelihood.total_nll(self, outputs, y_N)

    def score_parts(self, outputs, y_N):
        return tf.square(tf.cast(y_N, outputs.dtype) - outputs[..., 0])


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_a_chain_finds_the_posterior_of_linear_regression(jitter):
    """The mean and the covariance have a closed form (Bishop 2006, 3.3)."""
    random, noise, prior, num = np.random.default_rng(3), 0.6, 0.8, 16
    x = random.normal(size=[num, 2]) @ [[1, 0.6], [0, 0.8]]
    phi = np.concatenate([x, np.ones([num, 1])], 1)
    y = phi @ random.normal(size=3) + noise * random.normal(size=num)
    precision = np.eye(3) / prior**2 + phi.T @ phi / noise**2
    mean, covariance = np.linalg.solve(precision, phi.T @ y / noise**2), np.linalg.inv(precision)
    network = Network(lambda net, x: net.dense("linear", x, 1), (2,), 1)
    flags = {"hmc_burn_in_steps": 200, "hmc_kept_draws": 2000, "prior_scale": prior, "hmc_leapfrog_steps": 3}
    method = make(num, 2, network, KnownNoise(noise), hmc_jitter=jitter, **flags)
    state = method.init(seeds.seed(0, "init"))
    run(method, state, Batch(tf.constant(x, tf.float32), tf.constant(y, tf.float32)), 2200)
    draws = state.slots["draws"].numpy().astype(np.float64)
    assert np.abs((draws.mean((0, 1)) - mean) / standard_errors(draws)).max() < RARE
    products = np.einsum("mki,mkj->mkij", draws - mean, draws - mean).reshape(2, -1, 9)
    z = (products.mean((0, 1)) - covariance.ravel()) / standard_errors(products)
    assert np.abs(z).max() < RARE
    assert mcmc.r_hat(draws[..., 0]) < 1.01


class LocalModel:
    """The model y_n = theta + z_u(n) + noise, whose posterior is Gaussian.

    theta ~ N(0, prior^2) is shared, z_u ~ N(0, local^2) is the local latent of user u.
    """

    users, each, noise, prior, local = 6, 3, 0.5, 2.0, 0.8

    def __init__(self):
        random = np.random.default_rng(5)
        self.user = np.repeat(np.arange(self.users), self.each)
        self.y = (1.0 + random.normal(size=self.users)[self.user] * self.local).astype(np.float32)
        self.y += self.noise * random.normal(size=len(self.y)).astype(np.float32)
        design = np.concatenate([np.ones([len(self.y), 1]), np.eye(self.users)[self.user]], 1)
        self.scales = np.array([self.prior] + [self.local] * self.users)
        precision = np.diag(self.scales**-2) + design.T @ design / self.noise**2
        self.covariance = np.linalg.inv(precision)
        self.mean = self.covariance @ design.T @ self.y / self.noise**2

    def target(self, cluster) -> tuple[LogPosterior, slice]:
        """Return the target of a rank, and its users; a user is on one rank, with all its examples."""
        mine = slice(self.users * cluster.rank // cluster.size, self.users * (cluster.rank + 1) // cluster.size)
        rows = (self.user >= mine.start) & (self.user < mine.stop)
        examples = Batch(tf.constant(self.user[rows] - mine.start), tf.constant(self.y[rows]))

        def log_likelihood(q, batch):
            error = batch.y - q[:, :1] - tf.gather(q[:, 1:], batch.x, axis=1)
            return -0.5 * tf.reduce_sum(tf.cast(tf.square(error / self.noise), tf.float64), -1)

        scales = np.concatenate([self.scales[:1], self.scales[1:][mine]])
        return LogPosterior(log_likelihood, examples, cluster, scales, Local(1, mine, self.users)), mine


def test_the_gradient_is_that_of_the_energy_with_a_prior_for_each_coordinate():
    """With a wrong gradient the chain would still sample the posterior, thanks to Metropolis acceptance, but slowly."""
    model = LocalModel()
    target, _ = model.target(Solo())
    q = tf.constant(np.random.default_rng(0).normal(size=[2, 1 + model.users]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(q)
        log_prior = -0.5 * tf.reduce_sum(tf.square(q / model.scales.astype(np.float32)), -1)
        value = tf.cast(target.log_likelihood(q, target.examples), tf.float32) + log_prior
    np.testing.assert_allclose(target.evaluate(q).gradient, tape.gradient(value, q), rtol=1e-4, atol=1e-4)


def test_local_latents_have_their_closed_form():
    model = LocalModel()
    target, _ = model.target(Solo())
    q, kept, random = tf.zeros([2, 1 + model.users]), [], np.random.default_rng(0)

    @tf.function(autograph=False)
    def step(q, stream, step_size):
        p = target.momentum(stream, q.shape[-1])
        end = follow(target, q, p, step_size, 8)
        acceptance = hamiltonian.metropolis(hamiltonian.log_accept_ratio(target, q, p, end), stream + [0, ACCEPT])
        return tf.where(acceptance.accepted[:, None], end.q, q)

    for t in range(2200):
        stream = np.stack([seeds.seed(chain, "chain", t) for chain in range(2)])
        q = step(q, tf.constant(stream), tf.constant(random.uniform(0.1, 0.35, 2), tf.float32))  # avoids resonance
        kept.append(q.numpy())
    draws = np.moveaxis(np.array(kept[200:], np.float64), 0, 1)
    assert np.abs((draws.mean((0, 1)) - model.mean) / standard_errors(draws)).max() < RARE
    squares = (draws - model.mean) ** 2
    assert np.abs((squares.mean((0, 1)) - np.diag(model.covariance)) / standard_errors(squares)).max() < RARE


def test_local_latents_of_two_ranks_move_as_those_of_one():
    """With the momenta of the one rank, the two ranks have the same trajectory and the same accept ratio."""
    model, random = LocalModel(), np.random.default_rng(8)
    q, p = (random.normal(size=[2, 1 + model.users]).astype(np.float32) for _ in range(2))

    def on_rank(cluster):
        target, mine = model.target(cluster)
        parts = [np.concatenate([part[:, :1], part[:, 1:][:, mine]], 1) for part in (q, p)]
        start_q, start_p = map(tf.constant, parts)
        end = follow(target, start_q, start_p, tf.constant([0.2, 0.1]), 7)
        return end.q.numpy(), hamiltonian.log_accept_ratio(target, start_q, start_p, end).numpy()

    whole_q, whole_ratio = on_rank(Solo())
    (first, ratio), (second, other_ratio) = run_ranks(2, on_rank)
    np.testing.assert_array_equal(first[:, :1], second[:, :1])
    np.testing.assert_allclose(np.concatenate([first, second[:, 1:]], 1), whole_q, atol=1e-5)
    np.testing.assert_allclose([ratio, other_ratio], [whole_ratio] * 2, rtol=1e-4)


def test_local_momenta_belong_to_their_coordinates_and_not_to_the_ranks():
    model, stream = LocalModel(), tf.constant(np.stack([seeds.seed(0, "chain", 0)]))

    def momenta(cluster):
        return model.target(cluster)[0].momentum(stream, 1 + model.users // cluster.size).numpy()

    (whole,), (one, two) = run_ranks(1, momenta), run_ranks(2, momenta)
    np.testing.assert_array_equal(one[:, 0], two[:, 0])
    np.testing.assert_array_equal(np.concatenate([one, two[:, 1:]], 1), whole)
    assert np.abs(one[:, 1:] - two[:, 1:]).min() > 1e-3
    assert len(np.unique(whole)) == whole.size


def test_the_predictions_that_the_report_judges_are_those_of_the_draws_in_their_order():
    """More draws were written than are kept: the oldest is not the first in the ring."""
    chains = make(hmc_burn_in_steps=2, hmc_kept_draws=5)
    method, state = chains.base, chains.init(seeds.seed(0, "init"))
    state.step.assign(9)
    ring = RANDOM.normal(size=state.slots["draws"].shape).astype(np.float32)
    state.slots["draws"].assign(ring)
    standardizer = Standardizer(np.float32(0.5), np.float32(2.0))
    in_order = chronological(ring, int(method.ring.num_written(state.step)))[1]
    found = chain_report.predictions(method, state, in_order, X, standardizer)
    examples = np.unique(np.linspace(0, NUM - 1, chain_report.MOST_EXAMPLES).round().astype(int))
    kernel, bias = np.split(in_order, [FEATURES * CLASSES], -1)
    x = ((X - 0.5) * 2)[examples]
    logits = x @ kernel.reshape(CHAINS, -1, FEATURES, CLASSES) + bias[:, :, None]
    expected = scipy.special.softmax(logits, -1)
    np.testing.assert_allclose(found, expected.reshape(*in_order.shape[:2], -1), rtol=1e-4, atol=1e-6)
