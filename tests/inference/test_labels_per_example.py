"""Several labels of each example are as many observations. The oracle is a network to which each pixel is an example.

A convolution of width 1 over images [2, 3, F] with a label per pixel has the posterior of a dense layer over pixels.
"""

import numpy as np
import pytest
import tensorflow as tf
from oracles import draws

from bnn_hvd.config import compose, resolve
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference import likelihoods
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.models.network import Network
from bnn_hvd.targets import Classes, RealValues, from_dict, to_dict

PLACES, FEATURES, CLASSES, EXAMPLES, NUM_TRAIN = (2, 3), 4, 3, 5, 20
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=[EXAMPLES, *PLACES, FEATURES]).astype(np.float32)
LABELS = {
    "categorical": (RANDOM.integers(CLASSES, size=[EXAMPLES, *PLACES]).astype(np.int32), Classes, (CLASSES,)),
    "heteroscedastic": (RANDOM.normal(size=[EXAMPLES, *PLACES]).astype(np.float32), RealValues, (3.0, 2.0)),
}
FLAGS = {"vi": {"estimator": "reparam"}, "svgd": {"num_particles": 2}, "hmc": {"num_chains": 2}}
SEED = np.array([1, 2], np.int64)
CONTROLS = Controls(tf.constant([3, 4], tf.int64), tf.constant(0.05), tf.constant(0.5))


def networks(outputs):
    """Return the network of images, and that of pixels: their parameters are in the same order."""
    images = Network(
        lambda net, x: net.conv("only", x, outputs, 1), (*PLACES, FEATURES), outputs, "all", label_shape=PLACES
    )
    return images, Network(lambda net, x: net.dense("only", x, outputs), (FEATURES,), outputs, "all")


@pytest.mark.parametrize(
    ("method", "kind"),
    [*((name, "categorical") for name in ("point", "vi", "ivon", "svgd", "hmc")), ("ivon", "heteroscedastic")],
)
def test_a_step_is_that_of_a_network_of_single_pixels(method, kind):
    """Loss, update and draws: the KL or the prior counts once, against the sum over all labels."""
    y, target, arguments = LABELS[kind]
    flags = FLAGS.get(method, {}) | ({} if method == "hmc" else {"batch_size": EXAMPLES})
    config = resolve(dataset="sine" if kind != "categorical" else "digits", architecture="linear", method=method,
                     steps=40, likelihood=kind, **flags)  # fmt: skip
    seed, controls = SEED, CONTROLS
    if method in ("svgd", "hmc"):  # they have the axis of particles or chains
        seed = np.stack([SEED, SEED + 1])
        controls = controls._replace(seed=tf.stack([controls.seed, controls.seed + 1]))
    found = []
    for network, batch, num_train, shape in zip(
        networks(2 if kind == "heteroscedastic" else CLASSES),
        (Batch(tf.constant(X), tf.constant(y)), Batch(tf.reshape(X, [-1, FEATURES]), tf.reshape(y, [-1]))),
        (EXAMPLES if method == "hmc" else NUM_TRAIN, 6 * (EXAMPLES if method == "hmc" else NUM_TRAIN)),
        (PLACES, ()), strict=True,
    ):  # fmt: skip
        made = build_method(config, network, target(*arguments, label_shape=shape), num_train, Solo())
        made = getattr(made, "base", made)
        state = made.init(seed)
        scalars = made.step(state, batch, controls)
        outputs = made.draw(state, draws([0]))(batch.x) if method not in ("svgd", "hmc") else tf.zeros(1)
        found.append((scalars["loss"], scalars[made.likelihood.score_name], state.params, tf.reshape(outputs, [-1])))
    for ours, oracle in zip(*found, strict=True):
        np.testing.assert_allclose(ours, oracle, rtol=2e-4, atol=1e-6)


def test_axes_of_draws_and_members_come_first():
    y, target, arguments = LABELS["categorical"]
    likelihood = likelihoods.make(compose().data, target(*arguments, label_shape=PLACES))
    assert likelihood.labels_per_example == 6
    outputs_S = tf.constant(RANDOM.normal(size=[7, EXAMPLES, *PLACES, CLASSES]), tf.float32)
    of_draws = likelihood.nll(outputs_S, tf.constant(y))
    assert of_draws.shape == [7, 6 * EXAMPLES]
    y_M = tf.stack([y] * 7)  # members with labels of their own
    np.testing.assert_array_equal(of_draws, likelihood.nll(outputs_S, y_M))
    log_probs = tf.nn.log_softmax(outputs_S).numpy()
    picked = np.take_along_axis(log_probs, np.broadcast_to(y, [7, *y.shape])[..., None], -1)
    np.testing.assert_allclose(likelihood.total_nll(outputs_S, tf.constant(y)), -picked.sum((1, 2, 3, 4)), rtol=1e-5)
    right = log_probs.argmax(-1) == y
    np.testing.assert_allclose(
        likelihood.score(outputs_S, tf.constant(y))["accuracy"], right.mean((1, 2, 3)), rtol=1e-6
    )
    assert likelihood.predictive(outputs_S).shape == outputs_S.shape


@pytest.mark.parametrize("target", [Classes(4, label_shape=(2, 3)), RealValues(1.0, 2.0, label_shape=(5,)), Classes(4)])
def test_the_shape_of_the_labels_is_kept_with_the_run(target):
    assert from_dict(to_dict(target)) == target
    assert ("places" in str(target)) == bool(target.label_shape)
