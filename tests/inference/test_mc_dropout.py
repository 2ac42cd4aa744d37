"""MC dropout: masks against their definition, and the method against point.

Statistical tests have fixed seeds and bounds of RARE standard errors (8e-11 false fails per number).
"""

import numpy as np
import pytest
import tensorflow as tf
from oracles import RARE, draws, z_scores

from bnn_hvd import seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.likelihoods import Categorical
from bnn_hvd.inference.mc_dropout import MCDropout
from bnn_hvd.inference.point import Point
from bnn_hvd.models import layers
from bnn_hvd.models.layers import Dropout
from bnn_hvd.models.network import Network

RATE = 0.3
X = np.random.default_rng(0).normal(size=[40, 25]).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(size=[3, 6, 5, 2]).astype(np.float32)
SEED, SEEDS = tf.constant(seeds.seed(0, "draw", 0)), tf.constant([seeds.seed(0, "draw", s) for s in range(3)])


def dropped(x, seed):
    """Return the output of a dense layer with dropout, whose kernel is the identity."""
    return layers.dense(tf.constant(x), Dropout(tf.eye(x.shape[-1]), RATE, seed), tf.zeros(x.shape[-1])).numpy()


def test_an_input_is_dropped_or_scaled_up_each_with_its_probability():
    found = dropped(X, SEED)
    kept = found != 0
    np.testing.assert_allclose(found, np.where(kept, X / (1 - RATE), 0), rtol=1e-4)
    assert abs(kept.mean() - (1 - RATE)) < RARE * np.sqrt(RATE * (1 - RATE) / X.size)
    assert len(np.unique(kept, axis=0)) == len(X)  # each example has its own mask
    assert not np.array_equal(dropped(X, SEEDS[1]), found)


def test_the_gradient_goes_where_the_input_went():
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers.dense(x, Dropout(tf.eye(25), RATE, SEED), tf.zeros(25))
    np.testing.assert_allclose(tape.gradient(y, x), (y.numpy() != 0) / (1 - RATE), rtol=1e-4)


@pytest.mark.parametrize("own", [False, True], ids=["one input", "an input each"])
def test_weight_samples_side_by_side_are_those_one_by_one(own):
    """The layers are dense and convolutional; the weight samples share one kernel, or have one each."""
    kernels = tf.random.stateless_normal([3, 25, 4], [1, 2])
    filters = tf.random.stateless_normal([3, 3, 3, 2, 4], [3, 4])
    for layer, kernel, bias, x in ((layers.dense, kernels, tf.ones(4), X), (layers.conv, filters, tf.ones(4), IMAGES)):
        inputs = np.stack([x, 2 * x, 3 * x]) if own else x
        for each in (True, False):
            together = layer(tf.constant(inputs), Dropout(kernel if each else kernel[0], RATE, SEEDS), bias)
            for s in range(3):
                one = Dropout(kernel[s if each else 0], RATE, SEEDS[s])
                alone = layer(tf.constant(inputs[s] if own else x), one, bias)
                np.testing.assert_allclose(together[s], alone, rtol=1e-4, atol=1e-5)


def methods(**flags):
    """Return point and mc_dropout on a network of two dense layers without a nonlinearity between them."""
    network = Network(lambda net, x: net.dense("b", net.dense("a", x, 30), 3), (25,), 3)
    return [
        method(network, Categorical(), 100, Solo(), compose(method="mc_dropout", learning_rate=0.1, **flags))
        for method in (Point, MCDropout)
    ]


def test_with_rate_zero_it_is_point():
    batch, ends = Batch(tf.constant(X), tf.range(40) % 3), []
    for method in methods(dropout_rate=0.0):
        state = method.init(seeds.seed(0, "init"))
        for _ in range(3):
            method.step(state, batch, Controls(SEED, tf.constant(0.01), tf.constant(1.0)))
        ends.append(state.params.numpy())
        assert method.num_draws(5) == 1
    np.testing.assert_array_equal(*ends)


def test_the_mean_over_draws_of_a_linear_network_is_point():
    """z h / (1 - rate) has the variance h^2 rate / (1 - rate), and a logit sum_i (h_i w_ic)^2 rate / (1 - rate)."""
    point, dropout = methods(dropout_rate=RATE)
    state = point.init(seeds.seed(0, "init"))
    expected = point.draw(state, draws([0]))(tf.constant(X))[0].numpy()
    logits_SNC = dropout.draw(state, draws(range(2000)))(tf.constant(X[:2])).numpy()
    assert np.abs(z_scores(logits_SNC, expected[:2])).max() < RARE
    weights = {name: w.numpy() for name, w in point.network.unflatten(tf.convert_to_tensor(state.params)).items()}
    hidden = X[:2] @ weights["a/kernel"] + weights["a/bias"]
    variance = hidden**2 @ weights["b/kernel"] ** 2 * RATE / (1 - RATE)
    assert np.abs(z_scores((logits_SNC - expected[:2]) ** 2, variance)).max() < RARE


def test_the_draws_of_two_layers_and_of_two_examples_are_not_the_same():
    _, dropout = methods(dropout_rate=0.5)
    state = dropout.init(seeds.seed(0, "init"))
    same = tf.constant(np.repeat(X[:1], 2, axis=0))
    logits = dropout.draw(state, draws([0]))(same).numpy()
    assert np.abs(logits[0, 0] - logits[0, 1]).max() > 1e-3
