"""Checksums that detect one changed bit, and the changes that --flip_bit and --nudge_step make."""

import numpy as np
import pytest
import tensorflow as tf

from bnn_hvd.config import resolve
from bnn_hvd.errors import UserError
from bnn_hvd.inference import checksums, parameter_index
from bnn_hvd.inference.build import build_method
from bnn_hvd.models.build import build_network
from bnn_hvd.targets import Classes


def by_hand(x: np.ndarray) -> int:
    """Return the checksum, computed with Python's unlimited integers."""
    return sum(int(bits) * (2 * i + 1) for i, bits in enumerate(x.ravel().view(np.uint32))) % 2**32


def checksum(x) -> int:
    return int(checksums.checksum(tf.constant(x, tf.float32)).numpy()) % 2**32


def test_checksum_equals_integers_by_hand():
    x = np.random.default_rng(0).normal(size=(3, 1001)).astype(np.float32)
    assert checksum(x) == by_hand(x)


@pytest.mark.parametrize("bit", [0, 12, 31])
def test_one_flipped_bit_anywhere_changes_it(bit):
    x = np.random.default_rng(1).normal(size=64).astype(np.float32)
    for place in (0, 31, 63):
        other = x.copy()
        other.view(np.uint32)[place] ^= np.uint32(1 << bit)
        assert checksum(other) != checksum(x)
    swapped = x.copy()
    swapped[[3, 5]] = swapped[[5, 3]]
    assert checksum(swapped) != checksum(x)


def test_a_nudge_is_one_ulp_of_the_largest_entry():
    x = np.array([[0.5, -3.0], [2.0, 0.0]], np.float32)
    expected = x.copy()
    expected[0, 1] = np.nextafter(np.float32(-3), np.float32(-4))
    np.testing.assert_array_equal(checksums.nudged(tf.constant(x)).numpy(), expected)


@pytest.mark.parametrize("method", ["point", "vi"])
def test_flip_bit_changes_one_weight_of_the_output_layer(method):
    config = resolve(architecture="fc", method=method, flip_bit=31)
    network = build_network(config, (8, 8, 1), Classes(10))
    built = build_method(config, network, Classes(10), 100, None)  # type: ignore[arg-type]
    state = built.init(np.array([1, 2], np.int64))
    before = state.params.numpy()
    checksums.flip_bit(state, config, network)
    (changed,) = np.flatnonzero(before != state.params.numpy())
    assert state.params.numpy()[changed] == -before[changed]
    theta = parameter_index.of_theta(config.method.options, network)
    assert changed in theta[network.slices(np.arange(network.num_parameters))["logits/kernel"]]


def test_mistakes():
    network = build_network(resolve(architecture="fc"), (8, 8, 1), Classes(10))
    with pytest.raises(UserError, match="--flip_bit=32 must be at most 31"):
        checksums.flip_bit(None, resolve(flip_bit=32), network)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--nudge_step=3 is not used by --method=ivon"):
        resolve(method="ivon", nudge_step=3)
