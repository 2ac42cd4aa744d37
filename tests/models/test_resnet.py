"""Residual networks and vgg16: normalisation against numpy, known sizes, and the axis S equal to a loop."""

import numpy as np
import pytest
import tensorflow as tf

from bnn_hvd.config import resolve
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.method import Draws
from bnn_hvd.models import layers
from bnn_hvd.models.build import build_network
from bnn_hvd.targets import Classes

rng = np.random.default_rng(0)


def numpy_frn(x, gain, shift, threshold):
    mean_square = np.mean(x.astype(np.float64) ** 2, axis=(1, 2), keepdims=True)
    return np.maximum((1 + gain) * x / np.sqrt(mean_square + 1e-6) + shift, threshold)


def test_frn_equals_numpy_and_weight_samples_equal_a_loop():
    x = rng.normal(size=[2, 5, 4, 3, 6]).astype(np.float32)
    parts = [rng.normal(size=[2, 6]).astype(np.float32) for _ in range(3)]
    together = layers.frn(tf.constant(x), *map(tf.constant, parts)).numpy()
    for s in range(2):
        one = [part[s] for part in parts]
        np.testing.assert_allclose(together[s], numpy_frn(x[s], *one), rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(
            together[s], layers.frn(tf.constant(x[s]), *map(tf.constant, one)), rtol=1e-5, atol=1e-6
        )


def test_frn_of_an_example_does_not_depend_on_its_batch():
    x, zero = tf.constant(rng.normal(size=[4, 3, 3, 2]), tf.float32), tf.zeros(2)
    together = layers.frn(x, zero, zero, zero)
    np.testing.assert_allclose(together[1:2], layers.frn(x[1:2], zero, zero, zero), rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 4])
def test_strided_flipout_without_noise_is_the_convolution_of_its_mean(stride, channels):
    x, loc = (tf.constant(rng.normal(size=shape), tf.float32) for shape in ([3, 9, 8, channels], [3, 3, channels, 5]))
    flipout = layers.Flipout(loc, tf.zeros_like(loc), tf.constant([1, 2], tf.int64))
    expected = tf.nn.conv2d(x, loc, stride, "SAME")
    np.testing.assert_allclose(layers.conv(x, flipout, tf.zeros(5), stride=stride), expected, atol=1e-5)


# kernel weights of the convolutions and the dense layer, counted by hand
RESNET20 = 3 * 9 * 16 + 6 * 9 * 16**2 + 9 * (16 * 32 + 5 * 32**2) + 9 * (32 * 64 + 5 * 64**2) + 16 * 32 + 32 * 64 + 640
VGG16 = 9 * (3 * 64 + 64**2 + 64 * 128 + 128**2 + 128 * 256 + 2 * 256**2 + 256 * 512 + 5 * 512**2) + 5120


@pytest.mark.parametrize(("name", "kernels"), [("resnet20", RESNET20), ("vgg16", VGG16), ("resnet18", 11_164_352)])
def test_sizes(name, kernels):
    network = build_network(resolve(architecture=name, method="point"), (32, 32, 3), Classes(10))
    assert sum(p.size for p in network.parameters if p.is_kernel) == kernels
    assert not any(p.bayesian for p in network.parameters if not p.is_kernel)
    plain = build_network(resolve(architecture=name, method="point", normalization="none"), (32, 32, 3), Classes(10))
    assert {p.kind for p in plain.parameters} == {"kernel", "bias"}


@pytest.mark.parametrize("method", ["point", "vi"])
def test_a_draw_is_the_same_whatever_draws_are_beside_it(method):
    config = resolve(architecture="resnet20", method=method, num_particles=2 * (method == "point"))
    network = build_network(config, (8, 8, 3), Classes(4))
    built = build_method(config, network, Classes(4), 100, None)  # type: ignore[arg-type]
    state = built.init(np.array([1, 2], np.int64))
    x = tf.constant(rng.normal(size=[2, 8, 8, 3]), tf.float32)
    seeds = tf.constant([[1, 2], [3, 4]], tf.int64)
    together = built.draw(state, Draws(tf.range(2), seeds))(x).numpy()
    assert together.shape == (2, 2, 4)
    assert np.isfinite(together).all()
    assert np.abs(together[0] - together[1]).max() > 1e-4
    alone = built.draw(state, Draws(tf.range(1, 2), seeds[1:]))(x).numpy()
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-4, atol=1e-5)
