"""Every network learns 48 random images by heart, with each normalisation: signals and gradients pass."""

import numpy as np
import pytest
import tensorflow as tf

from bnn_hvd import registry
from bnn_hvd.config import resolve
from bnn_hvd.config.flags import fields_of
from bnn_hvd.config.train import CHOICES
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.models.build import build_network
from bnn_hvd.targets import Classes

SIZE, TARGET, MOST_STEPS = 48, Classes(10), 60
SHAPE = (8, 8, 3)  # of the maps of vgg16 and resnet18, some then have one pixel
RANDOM = np.random.default_rng(0)
BATCH = Batch(
    tf.constant(RANDOM.normal(size=[SIZE, *SHAPE]), tf.float32), tf.constant(RANDOM.integers(10, size=SIZE), tf.int32)
)
RATES = {"vgg16": 2e-4, "linear": 1e-2}  # others: 1e-3
# matrix_factorisation takes users. vgg16 without a norm takes minutes; its signals have a test of their own below.
LEFT_OUT = [("matrix_factorisation", ""), ("vgg16", "none"), (registry.OWN, "")]


def normalizations(name: str) -> tuple[str, ...]:
    flags = fields_of(CHOICES["network"].options_of(name))
    return flags["normalization"].metadata["choices"] if "normalization" in flags else ("",)


CASES = [(name, one) for name in registry.NETWORKS for one in normalizations(name) if (name, one) not in LEFT_OUT]


@pytest.mark.parametrize(("name", "normalization"), CASES)
def test_it_learns_48_images_by_heart(name, normalization):
    config = resolve(architecture=name, method="point", **({"normalization": normalization} if normalization else {}))
    network = build_network(config, SHAPE, TARGET)
    method = build_method(config, network, TARGET, SIZE, Solo())
    state = method.init(np.array([1, 2], np.int64))
    controls = Controls(tf.constant([3, 4], tf.int64), tf.constant(RATES.get(name, 1e-3)), tf.constant(0.0))
    step = tf.function(lambda: method.step(state, BATCH, controls)["accuracy"], autograph=False)
    assert any(step() == 1.0 for _ in range(MOST_STEPS))


def test_signals_reach_the_output_of_vgg16_without_a_norm():
    """Thirteen kernels that each halve the mean square would leave 0.01 of the input's scale of 1."""
    config = resolve(architecture="vgg16", method="point", normalization="none")
    network = build_network(config, (32, 32, 3), TARGET)
    x = tf.constant(RANDOM.normal(size=[2, 32, 32, 3]), tf.float32)
    outputs = network.apply(network.unflatten(network.initial(np.array([1, 2], np.int64))), x).numpy()
    assert 0.1 < np.sqrt(np.mean(outputs**2)) < 10
