"""Keras models as networks. The oracles are Keras itself, our own networks, and layers with one kernel per example."""

from pathlib import Path

import keras
import keras_zoo
import numpy as np
import pytest
import tensorflow as tf
from oracles import draws

from bnn_hvd import noise, seeds
from bnn_hvd.config import resolve
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.likelihoods import Categorical
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.models import keras_model
from bnn_hvd.models.build import build_network
from bnn_hvd.models.layers import Flipout
from bnn_hvd.models.network import DROPOUT, STATISTICS
from bnn_hvd.run import checkpoint
from bnn_hvd.targets import Classes, RealValues

ZOO, SHAPE, CLASSES = Path(keras_zoo.__file__), (8, 8, 1), 4
RANDOM = np.random.default_rng(0)
X = tf.constant(RANDOM.normal(size=[6, *SHAPE]), tf.float32)
LABELS = RANDOM.integers(CLASSES, size=X.shape[:-1]).astype(np.int32)  # of each pixel
SEED = np.array([1, 2], np.int64)
NUM_TRAIN = 1000
CONTROLS = Controls(tf.constant([3, 4], tf.int64), tf.constant(0.05), tf.constant(1.0))


def configured(architecture, **flags):
    return resolve(**{"architecture": str(architecture), "method": "ivon", "batch_size": 6, "steps": 4} | flags)


def target_of(name):
    return Classes(CLASSES, label_shape=SHAPE[: keras_zoo.LABEL_AXES.get(name, 0)])


def batch(name="mlp"):
    return Batch(X, tf.constant(LABELS[(..., *[0] * (2 - len(target_of(name).label_shape)))]))


def built(name, target=None, **flags):
    config = configured(f"{ZOO}:{name}", **flags)
    return config, build_network(config, SHAPE, target or target_of(name))


def made(name, **flags):
    config, network = built(name, **flags)
    method = build_method(config, network, target_of(name), NUM_TRAIN, Solo())
    return method, method.init(SEED)


def test_a_model_and_our_network_have_equal_losses_and_gradients():
    """LeNet with the same weights; the loss is that of the maximum a posteriori, to rounding."""
    _, theirs = built("lenet", method="point")
    ours = build_network(resolve(architecture="lenet5", method="point"), SHAPE, Classes(CLASSES))
    theta = theirs.initial(SEED).numpy()
    pairs = dict(zip([p.name for p in by_layer(theirs)], [p.name for p in by_layer(ours)], strict=True))
    named = {pairs[name]: value for name, value in theirs.slices(theta).items()}
    same = np.concatenate([named[p.name] for p in ours.parameters])
    found = [loss_and_gradient(network, flat) for network, flat in ((theirs, theta), (ours, same))]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    for name, gradient in found[0][1].items():
        np.testing.assert_allclose(gradient, found[1][1][pairs[name]], rtol=1e-3, atol=1e-6)


def by_layer(network):
    """Return the parameters, kernel and bias of each layer in turn."""
    return sorted(network.parameters, key=lambda p: (network.layers.index(p.layer), p.kind != "kernel"))


def loss_and_gradient(network, theta):
    objective, theta = MaximumAPosteriori(network, Categorical(), 100, 1.0), tf.constant(theta)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        loss = objective.scalars(theta, batch(), CONTROLS)["loss"]
    return float(loss), network.slices(tape.gradient(loss, theta).numpy())


@pytest.mark.parametrize("name", keras_zoo.MODELS)
def test_the_outputs_are_those_of_keras(name):
    _, network = built(name)
    named = network.slices_in_shape(network.initial(SEED).numpy())
    model = getattr(keras_zoo, name)(SHAPE, CLASSES)
    for variable, p in zip(model.trainable_variables, network.forward.parameters, strict=True):
        variable.assign(named[p.name])
    weights = network.unflatten(network.initial(SEED)) | {STATISTICS: tf.constant(network.initial_statistics)}
    np.testing.assert_allclose(network.apply(weights, X), model(X, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", keras_zoo.MODELS)
def test_weight_samples_at_once_are_those_one_by_one(name):
    _, network = built(name)
    theta = tf.stack([network.initial(SEED), network.initial(SEED + 1)])
    assert not np.allclose(theta[0], theta[1])
    together, seen = network.apply_in_training(network.unflatten(theta), X)
    for s in range(2):
        alone, seen_alone = network.apply_in_training(network.unflatten(theta[s]), X)
        np.testing.assert_array_equal(together[s], alone)
        for key, value in seen_alone.items():
            np.testing.assert_array_equal(seen[key][s], value)
    own_x = network.apply_in_training(network.unflatten(theta), tf.stack([X, X + 1]))[0]
    np.testing.assert_array_equal(own_x[1], network.apply_in_training(network.unflatten(theta[1]), X + 1)[0])


@pytest.mark.parametrize("name", keras_zoo.MODELS)
def test_ivon_trains_draws_and_resumes_to_the_bit(name):
    """Four steps are equal to two, a checkpoint, and two more; the loss falls, and the draws differ."""
    method, state = made(name)
    step = tf.function(lambda: method.step(state, batch(name), CONTROLS)["nll"], autograph=False)
    first = float(step())
    step()
    kept = checkpoint.arrays_of(state)
    last = [float(step()) for _ in range(4)][-1]
    end = checkpoint.arrays_of(state)
    assert last < first
    checkpoint.restore(kept, state)
    for _ in range(4):
        step()
    for key, value in checkpoint.arrays_of(state).items():
        np.testing.assert_array_equal(value, end[key])
    outputs = method.draw(state, draws([0, 1]))(X)
    assert outputs.shape == [2, len(X), *target_of(name).label_shape, CLASSES]
    assert not np.allclose(outputs[0], outputs[1])


def test_the_statistics_of_batch_norms_are_those_of_the_batch():
    """The first norm follows the stem: its mean and variance in numpy. Predictions use the running ones."""
    _, network = built("resnet")
    weights = network.unflatten(network.initial(SEED))
    _, seen = network.apply_in_training(weights, X)
    stem = keras.ops.conv(X, weights["conv2d/kernel"], padding="same") + weights["conv2d/bias"]
    flat = np.asarray(stem, np.float64).reshape(-1, 4)
    np.testing.assert_allclose(seen[STATISTICS][:8], np.concatenate([flat.mean(0), flat.var(0)]), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(network.initial_statistics, [0, 0, 0, 0, 1, 1, 1, 1] * 2)
    stored = [network.apply(weights | {STATISTICS: seen[STATISTICS] + shift}, X) for shift in (0.0, 0.5)]
    assert not np.allclose(stored[0], stored[1])
    method, state = made("resnet")
    method.step(state, batch(), CONTROLS)
    assert not np.allclose(state.slots[STATISTICS], network.initial_statistics)


def test_a_seed_chooses_the_masks_of_dropout():
    _, network = built("mlp", architecture_args="rate=0.5")
    weights = network.unflatten(network.initial(SEED))

    def outputs(seed):
        return network.apply(weights | network.dropout(tf.constant(seed, tf.int64)), X).numpy()

    np.testing.assert_array_equal(outputs([1, 2]), outputs([1, 2]))
    assert not np.allclose(outputs([1, 2]), outputs([1, 3]))
    np.testing.assert_array_equal(outputs([[1, 2], [1, 3]])[1], outputs([1, 3]))
    mean = np.mean([outputs([7, s]) for s in range(800)], 0)  # logits are linear in the masks
    np.testing.assert_allclose(mean, network.apply(weights, X), atol=0.3)  # 6 standard errors are 0.2
    assert DROPOUT not in weights


def test_mc_dropout_draws_masks_and_laplace_a_last_layer():
    method, state = made("mlp", method="mc_dropout")
    found = method.draw(state, draws([0, 1]))(X)
    assert method.num_draws(9) == 9
    assert not np.allclose(found[0], found[1])
    with pytest.raises(UserError, match="has no Dropout layer"):
        made("lenet", method="mc_dropout")
    with pytest.raises(UserError, match=r"which are for point, .*ivon, not for swag"):
        made("resnet", method="swag")
    with pytest.raises(UserError, match="local_reparam is not for Keras"):
        made("mlp", method="vi", estimator="local_reparam")


LAYERS = [
    (keras.layers.Dense(3, "tanh"), (5,), (5, 3)),
    (keras.layers.Conv2D(3, 3, 2, "same", activation="relu"), (6, 5, 2), (3, 3, 2, 3)),
    (keras.layers.Conv1D(3, 3), (7, 2), (3, 2, 3)),
    (keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), (6, 5, 2), (3, 3, 2, 2)),
]


@pytest.mark.parametrize(("layer", "shape", "kernel_shape"), LAYERS, ids=lambda value: getattr(value, "name", None))
def test_flipout_gives_each_example_a_kernel_of_its_own(layer, shape, kernel_shape):
    """W_n = loc + perturbation * (r_n t_n^T), with Keras' own layer for each example (Wen et al. 2018, eq. 3)."""
    x = tf.constant(RANDOM.normal(size=[4, *shape]), tf.float32)
    layer.build([None, *shape])
    loc, perturbation = (tf.constant(RANDOM.normal(size=kernel_shape), tf.float32) for _ in range(2))
    seed = tf.constant([5, 6], tf.int64)
    found = keras_model.flipout(layer, x, Flipout(loc, perturbation, seed))
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    inputs, outputs = kernel_shape[-2], kernel_shape[-1] * (kernel_shape[-2] if depthwise else 1)
    masks = noise.flip(tf.ones([4, inputs + outputs]), noise.sign_masks(seed, 4, inputs + outputs)).numpy()
    for n in range(4):
        r, t = np.split(masks[n], [inputs])
        signs = r[:, None] * (t.reshape(inputs, -1) if depthwise else t[None, :])
        keras_model._kernel_of(layer).assign(loc + perturbation * signs)
        np.testing.assert_allclose(found[n], layer(x[n : n + 1])[0], rtol=1e-4, atol=1e-5)
    assert len(np.unique(masks[:, 0])) + len(np.unique(masks[:, -1])) > 2


def test_vi_by_flipout_has_the_signs_in_the_model():
    """The layers of the model take flipout's kernels: equal examples then have different outputs."""
    config, network = built("mlp", method="vi")
    named = network.unflatten(network.initial(SEED))
    loc = named["dense/kernel"]
    special = named | {"dense/kernel": Flipout(loc, 0.3 * tf.ones_like(loc), tf.constant([5, 6], tf.int64))}
    same_rows = tf.repeat(X[:1], 6, axis=0)
    outputs = network.apply(special, same_rows).numpy()
    assert np.ptp(outputs, axis=0).min() > 1e-3
    assert np.ptp(network.apply(named, same_rows).numpy(), axis=0).max() < 1e-6
    method = build_method(config, network, Classes(CLASSES), NUM_TRAIN, Solo())
    assert np.isfinite(method.step(method.init(SEED), batch(), CONTROLS)["loss"])


def test_the_noise_of_real_targets_is_beside_the_model():
    _, network = built("mlp", target=RealValues(), dataset="sine")
    assert network.num_noise_scales == 1
    outputs = network.apply(network.unflatten(network.initial(SEED)), X)
    assert outputs.shape == [6, 2]
    np.testing.assert_array_equal(outputs[:, 1], 0)


def test_a_file_gives_the_architecture_and_init_from_its_weights(tmp_path):
    model, path = keras_zoo.mlp(SHAPE, CLASSES), tmp_path / "saved.keras"
    model.save(path)
    config = configured(path, init_from=str(path))
    network = build_network(config, SHAPE, Classes(CLASSES))
    method = build_method(config, network, Classes(CLASSES), NUM_TRAIN, Solo())
    state = method.init(SEED)
    np.testing.assert_array_equal(network.apply(network.unflatten(state.params), X), model(X))
    assert not np.allclose(network.initial(SEED), state.params)  # without --init_from, other weights
    with pytest.raises(UserError, match="other parameters than this network"):
        made("lenet", init_from=str(path))
    with pytest.raises(UserError, match="no such file"):
        made("lenet", init_from=str(tmp_path / "gone.keras"))
    path.write_text("no model")
    with pytest.raises(UserError, match="can't be read as a Keras 3 model"):
        build_network(config, SHAPE, Classes(CLASSES))


def test_initial_weights_follow_from_the_seed_and_leave_the_users_generator_alone():
    import random

    _, network = built("mlp")
    random.seed(5)
    first = network.initial(seeds.seed(1, "init"))
    after = random.random()
    random.seed(5)
    assert after == random.random()
    np.testing.assert_array_equal(first, network.initial(seeds.seed(1, "init")))
    assert not np.allclose(first, network.initial(seeds.seed(2, "init")))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("other_outputs", r"outputs of the shape \['N', 5\]: these data need \[N, 4\]"),
        ("no_model", "returns str: it must return a keras.Model"),
        ("half_precision", "is float16: all trainable ones must be float32"),
        ("no_weights", "no trainable kernel"),
        ("stateful", "training changes .*count, and only batch norms"),
        ("raises", "raises NameError"),
        ("nowhere", "has no function 'nowhere'; its functions are mlp, lenet"),
    ],
)
def test_wrong_models_are_refused(name, what):
    with pytest.raises(UserError, match=rf"^--architecture=.*keras_zoo.py:{name}: .*{what}") as caught:
        built(name)
    assert "\n" not in str(caught.value)
