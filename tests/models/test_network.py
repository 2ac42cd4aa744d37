"""Networks: their parameters and shapes, the flat vector, and S weight samples at once."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from bnn_hvd import registry
from bnn_hvd.config import compose
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.config.train import train_flags
from bnn_hvd.errors import UserError
from bnn_hvd.models.build import build_network
from bnn_hvd.models.network import Network, Parameter
from bnn_hvd.targets import Classes

MNIST, CIFAR, DIGITS = (28, 28, 1), (32, 32, 3), (8, 8, 1)
BIAS = 1
# The others have local latents, and tests of their own: tests/inference/test_factorisation.py.
BUILT_IN = [name for name in registry.NETWORKS if name != registry.OWN]  # those of the user: tests/models/test_own.py
WHOLE = [name for name in BUILT_IN if name not in CHOICES["network"].names_with("local_latents")]


def dense(inputs: int, outputs: int) -> int:
    return (inputs + BIAS) * outputs


def conv(width: int, channels: int, filters: int) -> int:
    return (width * width * channels + BIAS) * filters


def convs_over_time(filters: int) -> int:
    ends = [1, *(filters * 2**i for i in range(4))]
    return sum((w * a + BIAS) * b for w, (a, b) in zip((16, 16, 16, 32), itertools.pairwise(ends), strict=True))


def blocks(channels: int) -> int:
    ends = [channels, 32, 64, 128]
    return sum(conv(3, a, b) + conv(3, b, b) for a, b in itertools.pairwise(ends))


def residual(channels: int, stages: tuple[int, ...], blocks_each: int) -> int:
    """Count the weights of a stem and stages of blocks of two 3x3 convs, and a 1x1 conv where the width changes.

    The normalisation has 3 numbers per channel.
    """
    first = stages[0]
    total, normalised = conv(3, channels, first), first
    for before, width in itertools.pairwise((first, *stages)):
        total += conv(3, before, width) + (2 * blocks_each - 1) * conv(3, width, width)
        total += conv(1, before, width) if before != width else 0
        normalised += 2 * blocks_each * width
    return total + 3 * normalised + dense(stages[-1], 10)


VGG16 = (64, 64, 128, 128, 256, 256, 256, *[512] * 6)
SIZES = {
    ("fc", MNIST): 50_890,
    ("linear", MNIST): dense(784, 10),
    ("linear", (13,)): dense(13, 10),
    ("fc", CIFAR): dense(32 * 32 * 3, 64) + dense(64, 10),
    ("fc", DIGITS): dense(64, 64) + dense(64, 10),
    ("fc", (13,)): dense(13, 64) + dense(64, 10),
    ("conv", MNIST): 1_664 + 125_450,
    ("conv", CIFAR): conv(5, 3, 64) + dense(16 * 16 * 64, 10),
    ("conv", DIGITS): conv(5, 1, 64) + dense(4 * 4 * 64, 10),
    ("conv", (7, 5, 2)): conv(5, 2, 64) + dense(4 * 3 * 64, 10),
    ("vgg3", MNIST): blocks(1) + dense(4 * 4 * 128, 128) + dense(128, 10),
    ("vgg3", CIFAR): blocks(3) + dense(4 * 4 * 128, 128) + dense(128, 10),
    ("lenet5", MNIST): conv(5, 1, 6) + conv(5, 6, 16) + dense(7 * 7 * 16, 120) + dense(120, 84) + dense(84, 10),
    ("mlp", (3,)): dense(3, 64) + 4 * dense(64, 64) + dense(64, 10),
    ("resnet20", CIFAR): residual(3, (16, 32, 64), 3),
    ("resnet18", CIFAR): residual(3, (64, 128, 256, 512), 2),
    ("vgg16", CIFAR): sum(conv(3, a, b) + 3 * b for a, b in itertools.pairwise((3, *VGG16))) + dense(512, 10),
    ("gw", (2048,)): convs_over_time(16) + dense(8 * 128, 128) + dense(128, 10),
    ("gw", (100,)): convs_over_time(16) + dense(1 * 128, 128) + dense(128, 10),
    ("vgg3", DIGITS): blocks(1) + dense(1 * 1 * 128, 128) + dense(128, 10),
}


def build(name: str, shape: tuple[int, ...] = DIGITS, num_outputs: int = 10, **flags) -> Network:
    return build_network(
        compose(architecture=name, **{"bayesian_layers": "hidden", **flags}), shape, Classes(num_outputs)
    )


def test_every_network_is_in_this_test():
    assert {name for name, _ in SIZES} == set(WHOLE)


@pytest.mark.parametrize(("name", "shape"), SIZES)
def test_number_of_weights_and_shape_of_logits(name, shape):
    net = build(name, shape)
    assert net.num_parameters == SIZES[name, shape] == sum(p.size for p in net.parameters)
    theta = net.initial(np.array([1, 2]))
    logits = net.apply(net.unflatten(theta), tf.ones([3, *shape]))
    assert logits.shape == (3, 10)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", WHOLE)
def test_networks_take_an_unknown_number_of_examples(name):
    net = build(name, num_outputs=4)
    weights = net.unflatten(net.initial(np.array([1, 2])))
    forward = tf.function(lambda x: net.apply(weights, x), input_signature=[tf.TensorSpec([None, *DIGITS])])
    x = np.random.default_rng(0).normal(size=[5, *DIGITS]).astype(np.float32)
    np.testing.assert_allclose(forward(x), net.apply(weights, tf.constant(x)), rtol=1e-5, atol=1e-5)


FLAGS = [
    flags
    for flags in itertools.product(WHOLE, ("hidden", "all"), (False, True))
    if flags[0] not in CHOICES["network"].names_with("single_layer")
    or flags[1] == "all"  # their one layer is the output
] + [("gw", "output", False)]


@pytest.mark.parametrize(("name", "bayesian_layers", "bayesian_biases"), FLAGS)
def test_which_parameters_are_bayesian(name, bayesian_layers, bayesian_biases):
    net = build(name, bayesian_layers=bayesian_layers, bayesian_biases=bayesian_biases)
    output = {"mlp": "outputs", "gw": "outputs"}.get(name, "logits")
    expected = {
        p.name
        for p in net.parameters
        if (bayesian_layers == "all" or (p.layer == output) == (bayesian_layers == "output"))
        and (p.kind == "kernel" or (bayesian_biases and p.kind == "bias"))
    }
    assert {p.name for p in net.bayesian} == {p.name for p in net.parameters if p.bayesian} == expected
    assert f"{output}/kernel" in {p.name for p in net.parameters}
    assert net.parameters == net.bayesian + net.deterministic  # the Bayesian ones come first
    assert net.num_bayesian == sum(p.size for p in net.bayesian)


@pytest.mark.parametrize(("name", "bayesian_layers", "bayesian_biases"), FLAGS)
def test_the_flat_vector_and_the_parameters_are_the_same_numbers(name, bayesian_layers, bayesian_biases):
    net = build(name, bayesian_layers=bayesian_layers, bayesian_biases=bayesian_biases)
    theta = np.arange(net.num_parameters, dtype=np.float32)
    whole = net.unflatten(tf.constant(theta))
    bayesian = net.unflatten_bayesian(tf.constant(theta[: net.num_bayesian]))
    assert list(whole) == [p.name for p in net.parameters]
    assert list(bayesian) == [p.name for p in net.bayesian]
    np.testing.assert_array_equal(np.concatenate([np.ravel(part) for part in whole.values()]), theta)
    for p in net.parameters:
        assert whole[p.name].shape == p.shape
        np.testing.assert_array_equal(bayesian.get(p.name, whole[p.name]), whole[p.name])
        np.testing.assert_array_equal(net.slices(theta)[p.name], np.ravel(whole[p.name]))
    of_bayesian = net.slices(theta[: net.num_bayesian])
    assert list(of_bayesian) == [p.name for p in net.bayesian]
    for name_, part in of_bayesian.items():
        np.testing.assert_array_equal(part, np.ravel(bayesian[name_]))
    kinds = {line.split()[0]: line.split()[-1] for line in net.table(with_scales=True).splitlines()}
    assert kinds == {p.name: "Bayesian" if p.bayesian else "deterministic" for p in net.parameters}


def test_unflatten_keeps_the_axis_s_and_the_gradient():
    net = build("conv")
    theta = tf.constant(np.random.default_rng(0).normal(size=[3, net.num_parameters]).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(theta)
        parts = net.unflatten(theta)
        loss = sum(i * tf.reduce_sum(part**2) for i, part in enumerate(parts.values(), start=1))
    factor = np.concatenate([np.full(p.size, 2.0 * i) for i, p in enumerate(net.parameters, start=1)])
    np.testing.assert_allclose(tape.gradient(loss, theta), factor * theta, rtol=1e-6)
    for p in net.parameters:
        for s in range(3):
            np.testing.assert_array_equal(parts[p.name][s], net.unflatten(theta[s])[p.name])


def test_the_gradient_of_a_parameter_that_is_not_used_is_zero():
    net = build("fc")
    theta = net.initial(np.array([1, 2]))
    with tf.GradientTape() as tape:
        tape.watch(theta)
        loss = tf.reduce_sum(net.unflatten(theta)["logits/bias"] ** 1)
    gradient = net.slices(tape.gradient(loss, theta).numpy())
    for name, part in gradient.items():
        np.testing.assert_array_equal(part, np.full(part.shape, float(name == "logits/bias")))


@pytest.mark.parametrize("name", BUILT_IN)
def test_initial_weights_have_glorots_variance_and_biases_are_zero(name):
    """N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010); false-fail rate 2e-9 (6 standard errors) a kernel.

    He's 2 / fan_in is 8 % more for the first dense kernel, of 50,176 weights: 13 standard errors.
    """
    net = build(name, MNIST)
    first, again, other = (net.slices(net.initial(np.array(seed)).numpy()) for seed in ([1, 2], [1, 2], [1, 3]))
    for p in net.parameters:
        np.testing.assert_array_equal(first[p.name], again[p.name])
        if p.is_kernel:
            fans = np.prod(p.shape[:-2]) * (p.shape[-2] + p.shape[-1])
            assert abs(np.mean(first[p.name].astype(np.float64) ** 2) * fans / 2 - 1) < 6 * np.sqrt(2 / p.size)
            assert abs(np.corrcoef(first[p.name], other[p.name])[0, 1]) < 6 / np.sqrt(p.size)
        else:
            assert not first[p.name].any()


@pytest.mark.parametrize("name", ["conv", "vgg3"])
def test_vectors_for_a_convolutional_network_are_a_user_error(name):
    with pytest.raises(UserError, match=r"takes images.*vectors of 13.*--architecture=fc"):
        build(name, (13,))


def test_two_layers_of_one_name_are_refused():
    def forward(net, x):
        return net.dense("same", net.dense("same", x, 3), 3)

    with pytest.raises(AssertionError, match="two parameters are called same/kernel"):
        Network(forward, (2,), 3)


ROWS = [
    pytest.param(rows, name, id=f"{kind}-{name}")
    for kind, rows in [("network", registry.NETWORKS), ("method", registry.METHODS), ("dataset", registry.DATASETS)]
    for name in rows
    if name != registry.OWN
]


@pytest.mark.parametrize(("rows", "name"), ROWS)
def test_every_row_of_the_registry_can_be_imported(rows, name):
    assert callable(registry.load(rows, name))
    assert callable(registry.load(rows, name.upper()))
    assert rows[name].help


def test_the_choices_of_the_flags_are_the_rows_of_the_registry():
    fields = {name: field.metadata["choices"] for name, field in train_flags().items()}
    for flag, rows in (
        ("architecture", registry.NETWORKS), ("method", registry.METHODS),
        ("dataset", registry.DATASETS), ("model", registry.MODELS),
    ):  # fmt: skip
        assert fields[flag] is rows
    for row in registry.MODELS.values():
        assert all(value in fields[flag] for flag, value in row.items())


# The two largest have no kind of layer that the others lack.
DRAWN = [flags for flags in FLAGS if flags[0] not in ("resnet18", "vgg16") or flags[1:] == ("hidden", False)]


@pytest.mark.parametrize(("name", "bayesian_layers", "bayesian_biases"), DRAWN)
def test_s_draws_at_once_are_the_loop_over_the_draws(name, bayesian_layers, bayesian_biases):
    """As in prediction: the Bayesian parameters have an axis S, the deterministic ones are shared."""
    net = build(name, bayesian_layers=bayesian_layers, bayesian_biases=bayesian_biases, num_outputs=5)
    random, samples = np.random.default_rng(0), 3
    theta = net.initial(np.array([3, 4])) + 0.1 * random.normal(size=net.num_parameters).astype(np.float32)
    x = tf.constant(random.normal(size=[4, *DIGITS]).astype(np.float32))
    draws = theta[: net.num_bayesian] + 0.1 * random.normal(size=[samples, net.num_bayesian]).astype(np.float32)
    deterministic = theta[net.num_bayesian :]
    together = net.apply(net.unflatten(theta) | net.unflatten_bayesian(draws), x)
    each = [net.apply(net.unflatten(tf.concat([draw, deterministic], 0)), x) for draw in draws]
    assert together.shape == (samples, 4, 5)
    np.testing.assert_allclose(together, np.stack(each), rtol=1e-4, atol=1e-5)
    assert np.abs(np.diff(together, axis=0)).max() > 0.01  # the draws differ, so the test can fail


def test_a_parameter_knows_its_name_and_size():
    p = Parameter("conv1", "kernel", (5, 5, 3, 8))
    assert (p.name, p.size, p.is_kernel) == ("conv1/kernel", 600, True)
    assert p.initial_scale == pytest.approx(np.sqrt(2 / (25 * (3 + 8))))
    assert Parameter("logits", "bias", (8,)).initial_scale == 0
