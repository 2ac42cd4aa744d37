"""Standardisation against values computed by hand and by numpy."""

import json

import numpy as np
import pytest

from bnn_hvd.data import standardize

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (300, 5, 4, 3)).astype(np.uint8)
VECTORS = (RANDOM.normal(size=(1000, 6)) * [1, 10, 1e-3, 1, 5, 1] + [0, 1e4, 0, -3, 1e3, 7]).astype(np.float32)


def test_channels_by_hand():
    x = np.array([[[[0, 10]], [[4, 10]]], [[[2, 30]], [[2, 30]]]], np.uint8)  # [2, 2, 1, 2]
    fitted = standardize.fit(x, "channel")
    np.testing.assert_array_equal(fitted.mean, np.float32([2, 20]))
    np.testing.assert_array_equal(fitted.inv_std, np.float32([np.sqrt(1 / 2), 1 / 10]))


def test_pixels_by_hand():
    x = np.array([[[[1]], [[5]]], [[[3]], [[5]]]], np.uint8)  # [2, 2, 1, 1]
    fitted = standardize.fit(x, "pixel")
    np.testing.assert_array_equal(fitted.mean, np.float32([[[2]], [[5]]]))
    np.testing.assert_array_equal(fitted.inv_std, np.float32([[[1]], [[0]]]))  # the constant pixel becomes 0


@pytest.mark.parametrize("chunk_values", [1, 50, 1 << 18])
@pytest.mark.parametrize(
    ("x", "how", "axes"),
    [(IMAGES, "channel", (0, 1, 2)), (IMAGES, "pixel", 0), (VECTORS, "channel", 0), (VECTORS, "pixel", 0)],
)
def test_against_numpy_and_independent_of_chunks(monkeypatch, chunk_values, x, how, axes):
    monkeypatch.setattr(standardize, "CHUNK_VALUES", chunk_values)
    fitted = standardize.fit(x, how)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(fitted.mean, exact.mean(axes), rtol=1e-7)
    np.testing.assert_allclose(fitted.inv_std, 1 / exact.std(axes), rtol=1e-6)
    assert fitted.mean.dtype == fitted.inv_std.dtype == np.float32
    standardized = (x - fitted.mean) * fitted.inv_std  # mean and inv_std broadcast over the examples
    assert standardized.shape == x.shape
    np.testing.assert_allclose(standardized.std(axes), 1, atol=1e-4)


def test_a_constant_float_is_exactly_constant():
    """The computed mean of many 0.1 is not 0.1: without the shift the variance would be 1e-34, and inv_std 1e17."""
    x = np.full((1001, 2), [0.1, 1e6], np.float32)
    fitted = standardize.fit(x, "channel")
    np.testing.assert_array_equal(fitted.mean, x[0])
    np.testing.assert_array_equal(fitted.inv_std, [0, 0])


def test_a_large_mean_keeps_the_deviation():
    x = (1e6 + RANDOM.integers(0, 2, (1000, 1))).astype(np.float32)
    np.testing.assert_allclose(standardize.fit(x, "channel").inv_std, 1 / x.astype(np.float64).std(axis=0), rtol=1e-6)


def test_none_changes_nothing():
    fitted = standardize.fit(IMAGES, "none")
    np.testing.assert_array_equal((IMAGES - fitted.mean) * fitted.inv_std, IMAGES)


@pytest.mark.parametrize("how", ["channel", "pixel", "none", "unit"])
def test_json_keeps_it_bit_for_bit(how):
    fitted = standardize.fit(VECTORS, how)
    restored = standardize.Standardizer.from_dict(json.loads(json.dumps(fitted.to_dict())))
    for name in ("mean", "inv_std"):
        before, after = getattr(fitted, name), getattr(restored, name)
        assert (before.dtype, before.shape, before.tobytes()) == (after.dtype, after.shape, after.tobytes())


def test_mnist(shared_data):
    with np.load(shared_data / "mnist.npz") as archive:
        fitted = standardize.fit(archive["x_train"][..., np.newaxis], "channel")
    np.testing.assert_allclose(fitted.mean / 255, [0.1307], atol=5e-5)
    np.testing.assert_allclose(1 / fitted.inv_std / 255, [0.3082], atol=5e-5)


@pytest.mark.parametrize("x", [np.array([[0, 51], [255, 0]], np.uint8), np.array([[0.5, -2.0]], np.float32)])
def test_unit_divides_by_the_largest_and_keeps_zero(x):
    fitted = standardize.fit(x, "unit")
    scaled = (x.astype(np.float32) - fitted.mean) * fitted.inv_std
    assert np.abs(scaled).max() == pytest.approx(1)
    np.testing.assert_allclose(scaled, x / np.abs(x.astype(np.float64)).max(), rtol=1e-6)
