"""Priors of vi beside the Normal around 0: the scale mixture, and one around trained weights (MOPED)."""

import numpy as np
import point_runs
import pytest
import tensorflow as tf
from oracles import RARE, kl_normal, z_scores

from bnn_hvd import config, seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.scale_mixture import ScaleMixture
from bnn_hvd.models.build import build_network
from bnn_hvd.run import checkpoint
from bnn_hvd.targets import Classes

MIXTURE = ScaleMixture(wide_weight=0.25, wide_scale=1.5, narrow_scale=0.01)
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=[8, 6]).astype(np.float32), RANDOM.integers(3, size=8).astype(np.int32)


def tfp_mixture(mixture: ScaleMixture):
    import tensorflow_probability as tfp

    d = tfp.distributions
    weights = [mixture.wide_weight, 1 - mixture.wide_weight]
    scales = [mixture.wide_scale, mixture.narrow_scale]
    return d.MixtureSameFamily(d.Categorical(probs=weights), d.Normal(0.0, scales))


@pytest.mark.parametrize("shape", [[7], [2, 50]])
def test_the_density_and_its_slope_are_those_of_tensorflow_probability(shape):
    """There are narrow and wide weights, and some so large that the narrow density underflows."""
    w = tf.constant(RANDOM.normal(size=shape) * RANDOM.choice([0.001, 0.05, 1.0, 20.0], size=shape), tf.float32)
    upstream = tf.constant(RANDOM.normal(size=shape[:-1]), tf.float32)
    found = []
    for log_prob in (MIXTURE.log_prob, lambda w: tf.reduce_sum(tfp_mixture(MIXTURE).log_prob(w), -1)):
        with tf.GradientTape() as tape:
            tape.watch(w)
            value = log_prob(w)
            weighted = tf.reduce_sum(upstream * value)
        found.append((value, tape.gradient(weighted, w)))
    (value, slope), (expected, expected_slope) = found
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, rtol=2e-4, atol=1e-5)


def test_a_mixture_of_two_equal_normals_has_the_kl_of_one():
    """The mean over 20,000 draws has a false-fail rate of 8e-11. Without the entropy it would be off by 11."""
    equal = ScaleMixture(0.3, 0.7, 0.7)
    loc, scale = RANDOM.normal(size=5), np.exp(RANDOM.uniform(-3, 1, size=5))
    w = tf.constant(loc + scale * RANDOM.normal(size=[20_000, 5]), tf.float32)
    kl = equal.kl(w, tf.constant(np.broadcast_to(np.log(scale), w.shape), tf.float32)).numpy()
    assert abs(z_scores(kl, kl_normal(loc, scale, 0.7))) < RARE


def make(seed: int = 1, **flags):
    settings = {"architecture": "fc", "method": "vi", "estimator": "reparam", "bayesian_layers": "hidden"} | flags
    made = build_method(train := compose(**settings), build_network(train, (6,), Classes(3)), Classes(3), 10, Solo())
    return made, made.init(seeds.seed(seed, "init"))


@pytest.fixture
def point_run(tmp_path):
    return point_runs.write(tmp_path / "point", (6,), Classes(3))


def step(method, state):
    one = tf.constant(1.0)
    return method.step(state, Batch(tf.constant(X), tf.constant(Y)), Controls(seeds.seed(0, "noise", 0, 0), 0.01, one))


@pytest.mark.parametrize("estimator", ["flipout", "reparam", "local_reparam"])
@pytest.mark.parametrize("particles", [0, 2])
def test_the_prior_around_trained_weights_counts_the_distance_to_them(point_run, estimator, particles):
    """At the start loc is the prior mean: only the scales contribute to the KL. The closed form holds at each step."""
    run, _ = point_run
    method, state = make(
        estimator=estimator, init_from=str(run), prior_mean="init_from", prior_scale=0.3, num_particles=particles
    )
    start = method.marginals(state)[0]
    for _ in range(3):
        loc, scale = method.marginals(state)
        bayesian = scale.shape[-1]
        distance = (loc - start)[..., :bayesian]
        members = zip(np.atleast_2d(distance), np.atleast_2d(scale), strict=True)
        expected = np.mean([kl_normal(*one, 0.3) for one in members])
        assert float(step(method, state)["kl"]) == pytest.approx(expected, rel=1e-4)
    assert np.abs(method.marginals(state)[0] - start).max() > 0.01


def test_the_prior_mean_is_part_of_the_state_and_does_not_move(point_run):
    run, theta = point_run
    method, state = make(init_from=str(run), prior_mean="init_from")
    step(method, state)
    kept = checkpoint.arrays_of(state)
    name = next(name for name in kept if "prior_mean" in name)
    np.testing.assert_array_equal(kept[name], theta[: method.network.num_bayesian])


def test_relative_scales_are_a_part_of_the_trained_weights(point_run):
    run, theta = point_run
    method, state = make(init_from=str(run), init_relative_scale=0.1)
    _, scale = method.marginals(state)
    np.testing.assert_allclose(scale, np.maximum(0.1 * np.abs(theta[: len(scale)]), 1e-6), rtol=1e-5)


@pytest.mark.parametrize("particles", [0, 2])
@pytest.mark.parametrize("estimator", ["flipout", "reparam"])
def test_the_mixture_prior_trains_towards_few_large_weights(estimator, particles):
    """Training moves each weight towards the narrow or the wide part of the prior, so the KL falls."""
    method, state = make(estimator=estimator, prior="scale_mixture", num_particles=particles)
    kls = [float(step(method, state)["kl"]) for _ in range(60)]
    assert np.isfinite(kls).all()
    assert np.mean(kls[-5:]) < 0.9 * np.mean(kls[:5])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"method": "point", "prior": "scale_mixture"}, "--method=vi"),
        ({"method": "ivon", "prior_mean": "init_from", "init_from": "x"}, "--method=vi"),
        ({"prior": "scale_mixture", "estimator": "local_reparam"}, "flipout or reparam"),
        ({"prior_mean": "init_from"}, "--init_from"),
        ({"prior_wide_weight": 1.0}, "below 1"),
    ],
)
def test_priors_that_cannot_be_had_are_refused(flags, said):
    with pytest.raises(UserError, match=said):
        config.resolve(**flags)
