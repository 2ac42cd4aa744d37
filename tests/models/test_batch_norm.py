"""Batch norm: statistics against numpy, running ones in the state, and predictions that use these alone."""

import numpy as np
import pytest
import tensorflow as tf

from bnn_hvd.config import resolve
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.method import Draws
from bnn_hvd.models import layers
from bnn_hvd.models.build import build_network
from bnn_hvd.models.network import STATISTICS, Layers, Network
from bnn_hvd.targets import Classes

rng = np.random.default_rng(0)
CONFIG = resolve(architecture="resnet20", method="point", normalization="batch", optimizer="sgd")
X = tf.constant(rng.normal(size=[8, 6, 5, 2]) + 1, tf.float32)
Y = tf.constant(rng.integers(3, size=8), tf.int32)
SEED = np.array([1, 2], np.int64)
DRAWS = Draws(tf.range(1), tf.constant([[5, 6]], tf.int64))


def forward(net: Layers, x: tf.Tensor) -> tf.Tensor:
    """A network with two batch norms, which compiles sooner than resnet20."""
    x = net.activate("one", net.conv("one", x, 4, 3), "batch")
    x = net.activate("two", net.conv("two", x, 3, 3), "batch")
    return net.dense("logits", layers.mean_over_image(x), net.num_outputs)


def trained(steps: int, learning_rate: float, blocks: int = 0, **changes):
    """Return a method and its state after some steps on the whole of X."""
    network = Network(forward, X.shape[1:], 3)
    config = CONFIG.replace(**changes)
    method = build_method(config, network, Classes(network.num_outputs), 8, Solo(gradient_blocks=blocks))
    state = method.init(SEED)
    controls = Controls(tf.constant(SEED), tf.constant(learning_rate), tf.constant(1.0))
    step = tf.function(lambda: method.step(state, Batch(X, Y), controls), autograph=False)
    for _ in range(steps):
        step()
    return method, state


def by_numpy(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.mean(axis=(0, 1, 2), dtype=np.float64), x.var(axis=(0, 1, 2), dtype=np.float64)


def test_it_equals_numpy_and_weight_samples_equal_a_loop():
    x = (rng.normal(size=[2, 5, 4, 3, 6]) * 3 + 7).astype(np.float32)
    gain, shift = rng.normal(size=[2, 2, 6]).astype(np.float32)
    statistics = layers.batch_statistics(tf.constant(x))
    together = layers.normalized(tf.constant(x), *statistics, gain, shift).numpy()
    for s in range(2):
        mean, variance = by_numpy(x[s])
        expected = (1 + gain[s]) * (x[s] - mean) / np.sqrt(variance + 1e-5) + shift[s]
        np.testing.assert_allclose(together[s], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["point", "vi"])
def test_weights_that_stand_still_predict_as_in_training(method):
    """The running statistics are then those of the batch, from the first step on; vi has almost no noise here."""
    built, state = trained(2, 0.0, method=method, init_scale=1e-9)
    theta = built.network.initial(SEED)
    in_training, seen = built.network.apply_in_training(built.network.unflatten(theta), X)
    np.testing.assert_allclose(state.slots[STATISTICS], seen[STATISTICS], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(built.draw(state, DRAWS)(X)[0], in_training, rtol=1e-3, atol=1e-4)
    first = tf.nn.conv2d(X, built.network.unflatten(theta)["one/kernel"], 1, "SAME").numpy()
    np.testing.assert_allclose(seen[STATISTICS][:8], np.concatenate(by_numpy(first)), rtol=1e-4, atol=1e-5)


def test_a_prediction_does_not_depend_on_its_batch():
    method, state = trained(3, 0.01)
    together = method.draw(state, DRAWS)(X)
    np.testing.assert_allclose(method.draw(state, DRAWS)(X[2:3])[0], together[0, 2:3], rtol=1e-5, atol=1e-6)


def test_running_statistics_forget_and_are_no_parameters():
    method, state = trained(30, 0.05)
    _, seen = method.network.apply_in_training(method.network.unflatten(state.params), X)
    start = trained(1, 0.0)[1].slots[STATISTICS]
    now, before = (np.linalg.norm(state.slots[STATISTICS] - other[STATISTICS]) for other in (seen, {STATISTICS: start}))
    assert now < 0.5 * before
    assert state.params.shape[0] == method.network.num_parameters
    assert {p.kind for p in method.network.parameters} == {"kernel", "bias", "gain", "shift"}


def test_over_parts_of_a_batch_the_statistics_are_averaged():
    """As over ranks, they are the mean of the parts' means and the mean of the parts' variances."""
    method, state = trained(1, 0.0, blocks=2)
    weights = method.network.unflatten(method.network.initial(SEED))
    halves = [method.network.apply_in_training(weights, X[place::2])[1][STATISTICS] for place in (0, 1)]
    np.testing.assert_allclose(state.slots[STATISTICS], (halves[0] + halves[1]) / 2, rtol=1e-4, atol=1e-5)


def test_each_member_has_its_own():
    method, state = trained(3, 0.01, num_particles=2)
    assert state.slots[STATISTICS].shape == (2, 14)
    alone, its_state = trained(3, 0.01)
    np.testing.assert_allclose(state.slots[STATISTICS][0], its_state.slots[STATISTICS], rtol=1e-3, atol=1e-4)
    assert np.abs(state.slots[STATISTICS][0] - state.slots[STATISTICS][1]).max() > 1e-2
    both = method.draw(state, Draws(tf.range(2), tf.constant([[5, 6], [7, 8]], tf.int64)))(X)
    np.testing.assert_allclose(both[0], alone.draw(its_state, DRAWS)(X)[0], rtol=1e-3, atol=1e-3)


def test_networks_have_it_by_the_flag():
    for name, norms in {"resnet20": 19, "vgg16": 13}.items():
        network = build_network(CONFIG.replace(architecture=name), (32, 32, 3), Classes(10))
        assert sum(p.kind == "gain" for p in network.parameters) == norms
        assert network.initial_statistics.size == 2 * sum(p.size for p in network.parameters if p.kind == "gain")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"method": "swag"}, "--normalization=batch is for point, vi, ensemble, ivon, not for swag"),
        ({"method": "svgd"}, "not for svgd"),
        ({"method": "vi", "compression": "fp16"}, "--compression=fp16 would overflow"),
    ],
)
def test_what_it_does_not_fit_is_refused(flags, message):
    with pytest.raises(UserError, match=message):
        resolve(architecture="resnet20", normalization="batch", **flags)
