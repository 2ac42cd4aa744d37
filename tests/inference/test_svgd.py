"""SVGD: the direction against its definition and known consequences, the method against point and on several ranks."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import draws, run_ranks

from bnn_hvd import seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.likelihoods import Categorical
from bnn_hvd.inference.point import Point
from bnn_hvd.inference.svgd import Svgd, svgd_direction
from bnn_hvd.models.network import Network

RANDOM = np.random.default_rng(0)
X, Y = tf.constant(RANDOM.normal(size=[20, 2]), tf.float32), tf.constant(RANDOM.integers(3, size=20), tf.int32)


def by_definition(theta: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return eq. 8 of Liu & Wang (2016) in float64: sums over pairs, with the kernel's gradient by differences."""
    distances = [np.linalg.norm(a - b) for i, a in enumerate(theta) for b in theta[:i]]
    h = np.median(distances) ** 2 / np.log(len(theta) + 1)

    def k(x, y):
        return np.exp(-np.sum((x - y) ** 2) / h)

    def gradient(x, y, small=1e-5):
        return np.array([k(x + e, y) - k(x - e, y) for e in small * np.eye(len(x))]) / (2 * small)

    return np.array(
        [np.mean([k(x, y) * s + gradient(x, y) for x, s in zip(theta, scores, strict=True)], 0) for y in theta]
    )


@pytest.mark.parametrize("count", [2, 3, 4, 7])  # the median of one, of an odd and of an even number of pairs
def test_the_direction_is_the_one_of_the_definition(count):
    theta, scores = RANDOM.normal(size=[2, count, 5])
    expected = by_definition(theta, scores)
    theta, scores = (tf.constant(part, tf.float32) for part in (theta + 3.0, scores))
    np.testing.assert_allclose(svgd_direction(theta, scores, slice(0, count)), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(svgd_direction(theta, scores, slice(1, 2)), expected[1:2], rtol=1e-3, atol=1e-4)


def test_with_a_flat_posterior_two_particles_move_apart():
    theta = tf.constant([[0.0, 1.0], [1.0, 1.5]])
    phi = svgd_direction(theta, tf.zeros([2, 2]), slice(0, 2)).numpy()
    np.testing.assert_allclose(phi[0], -phi[1], rtol=1e-5)
    assert (phi[1] - phi[0]) @ (theta[1] - theta[0]).numpy() > 0.1


def test_one_particle_climbs_the_posterior():
    scores = tf.constant([[1.0, -2.0]])
    np.testing.assert_allclose(svgd_direction(tf.ones([1, 2]), scores, slice(0, 1)), scores, rtol=1e-6)


def test_particles_at_one_place_stay_together():
    scores = tf.constant([[1.0, -2.0]] * 3)
    np.testing.assert_allclose(svgd_direction(tf.ones([3, 2]), scores, slice(0, 3)), scores, rtol=1e-5)


def test_a_normal_in_one_dimension_is_approached():
    """From N(-3, 0.5^2), particles reach N(1, 2^2): the mean to 1 %, the spread to 5 % of the standard deviation."""
    theta = tf.Variable(RANDOM.normal(-3, 0.5, size=[60, 1]), dtype=tf.float32)

    @tf.function
    def climb():
        for _ in tf.range(3000):
            theta.assign_add(0.5 * svgd_direction(theta, (1.0 - theta) / 4.0, slice(0, 60)))

    climb()
    assert abs(theta.numpy().mean() - 1) < 0.02
    assert abs(theta.numpy().std() - 2) < 0.1


def network() -> Network:
    return Network(lambda net, x: net.dense("only", x, 3), (2,), 3)


def run(method, state, seed, x=X, y=Y):
    for _ in range(4):
        method.step(state, Batch(x, y), Controls(tf.constant(seed), tf.constant(0.05), tf.constant(1.0)))
    return state.params.numpy()


INITS = np.stack([seeds.seed(0, "init", particle) for particle in range(6)])


def make(particles: int, cluster=None) -> Svgd:
    return Svgd(
        network(),
        Categorical(),
        20,
        cluster or Solo(),
        compose(method="svgd", num_particles=particles, optimizer="sgd"),
    )


def test_one_particle_takes_the_steps_of_point():
    config, seed = compose(method="svgd", num_particles=1), INITS[0]
    point, svgd = (method(network(), Categorical(), 20, Solo(), config) for method in (Point, Svgd))
    expected = run(point, point.init(seed), seed)
    np.testing.assert_allclose(run(svgd, svgd.init(seed[None]), seed)[0], expected, rtol=1e-4, atol=1e-6)


def test_particles_on_several_ranks_are_those_of_one_rank():
    """2 ranks with 3 particles each, where each rank is a group that sees all the data, equal one rank with 6."""

    def on_rank(ranks):
        def concat(tensors, name):
            return [tf.concat(parts, 0) for parts in zip(*ranks.gather(list(tensors)), strict=True)]

        mine = slice(3 * ranks.rank, 3 * ranks.rank + 3)
        method = make(6, Solo(concat, first_row=mine.start))
        return run(method, method.init(INITS[mine]), INITS[:3])

    alone = make(6)
    expected = run(alone, alone.init(INITS), INITS)
    np.testing.assert_allclose(np.concatenate(run_ranks(2, on_rank)), expected, rtol=1e-4, atol=1e-5)


def test_ranks_with_the_same_particles_share_the_data():
    def on_rank(ranks):
        method = make(3, ranks)
        return run(method, method.init(INITS[:3]), INITS[:3], X[ranks.rank :: 2], Y[ranks.rank :: 2])

    alone = make(3)
    expected = run(alone, alone.init(INITS[:3]), INITS[:3])
    for found in run_ranks(2, on_rank):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_draw_is_a_particle():
    method = make(3)
    state = method.init(INITS[:3])
    logits = method.draw(method.picked(state, tf.constant([2, 0]), tf.constant([0, 0])), draws([0, 1]))(X)
    for found, particle in zip(logits, (2, 0), strict=True):
        expected = method.network.apply(method.network.unflatten(tf.convert_to_tensor(state.params)[particle]), X)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
