"""Corruptions of images: closed forms, growth with the level, seeds, units and ranges."""

import numpy as np
import pytest
from oracles import RARE

from bnn_hvd.data import corruptions
from bnn_hvd.data.stored import StoredArray
from bnn_hvd.errors import UserError

RNG = np.random.default_rng(0)
SMOOTH = 0.5 + 0.4 * np.sin(np.linspace(0, 5, 24)[:, None, None] + np.linspace(0, 4, 24)[:, None] + np.arange(3))
IMAGES = np.clip(SMOOTH + 0.03 * RNG.normal(size=[12, 24, 24, 3]), 0, 1)
BYTES = np.rint(255 * IMAGES).astype(np.uint8)
BYTES[0, 0, 0], BYTES[0, 0, 1] = 0, 255  # each channel has the whole range


def corrupted(x: np.ndarray, name: str, level: int) -> np.ndarray:
    return corruptions.corrupted(x, name, level, corruptions.value_range(x))[:]


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_a_higher_level_changes_an_image_more(name):
    """The images are smooth, so that moving them further changes them more."""
    found = [
        np.sqrt(np.mean((corrupted(BYTES, name, level).astype(float) - BYTES) ** 2)) for level in corruptions.LEVELS
    ]
    assert found[0] > 1
    assert found == sorted(found)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_the_units_of_the_images_do_not_matter(name):
    """Images in [0, 1], and standardised for each channel, are corrupted as bytes are, up to their rounding."""
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
    of_bytes = corrupted(BYTES, name, 3) / 255
    for shift, scale in ((0, 1), (mean, std)):
        x = ((BYTES / 255 - shift) / scale).astype(np.float32)
        found = corrupted(x, name, 3)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found * scale + shift, of_bytes, atol=0.6 / 255 if name != "jpeg" else 0.02)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_an_example_does_not_depend_on_who_reads_it(name):
    """Ranks read different slices; the type and the range of the values stay."""
    ends = corruptions.value_range(BYTES)
    whole = corruptions.corrupted(BYTES, name, 2, ends)
    assert (whole.shape, whole.dtype, len(whole)) == (BYTES.shape, np.uint8, 12)
    parts = np.concatenate([corruptions.corrupted(BYTES, name, 2, ends)[at] for at in (slice(0, 5), slice(5, 12))])
    np.testing.assert_array_equal(parts, whole[:])
    assert whole[12:].shape == (0, 24, 24, 3)
    stored = StoredArray([BYTES[:7], BYTES[7:]])
    np.testing.assert_array_equal(corruptions.corrupted(stored, name, 2, corruptions.value_range(stored))[:], whole[:])


@pytest.mark.parametrize("name", ["noise", "rotation", "translation"])
def test_examples_are_corrupted_differently(name):
    same = np.repeat(BYTES[:1], 6, axis=0)
    assert len(np.unique(corrupted(same, name, 4), axis=0)) > 1


def test_noise_has_the_standard_deviation_of_its_level():
    """Of grey images the mean and the variance are known; 1e5 values are within RARE standard errors."""
    grey = np.full([40, 50, 50, 1], 0.5, np.float32)
    grey[0, 0, :2, 0] = 0, 1
    added = corrupted(grey, "noise", 1)[1:] - 0.5
    assert abs(added.mean()) < RARE * 0.08 / np.sqrt(added.size)
    assert abs(added.std() / 0.08 - 1) < RARE / np.sqrt(2 * added.size)


def test_contrast_and_brightness_in_closed_form():
    x = np.clip(IMAGES, 0.3, 0.6)
    x[0, 0, 0], x[0, 0, 1] = 0, 1
    mean = x.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(corrupted(x, "contrast", 4)[1:], (mean + 0.1 * (x - mean))[1:], atol=1e-9)
    np.testing.assert_allclose(corrupted(x, "brightness", 2)[1:], x[1:] + 0.2, atol=1e-9)
    np.testing.assert_allclose(corrupted(x, "brightness", 5)[1:].max(), 1)  # no image is brighter than white


def test_blur_keeps_a_constant_and_spreads_a_point():
    """A point becomes a Normal of 6 % of the side, by its second moment (it is cut off at 4 deviations)."""
    point = np.zeros([1, 61, 61, 1])
    point[0, 30, 30] = 1
    found = corrupted(point, "blur", 4)[0, :, :, 0]
    place = np.arange(61) - 30.0
    assert found.sum() == pytest.approx(1)
    assert (found.sum(1) * place**2).sum() == pytest.approx((0.06 * 61) ** 2, rel=0.01)


def test_pixelation_makes_squares_of_their_means():
    x = RNG.uniform(size=[1, 8, 8, 1])
    found = corruptions.pixelation(x[0], 0.25, RNG)[..., 0]
    means = x[0, ..., 0].reshape(2, 4, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(found, np.kron(means, np.ones([4, 4])), atol=1e-6)


def test_rotation_and_translation_move_what_is_there():
    """A linear ramp stays one: its slope turns by the angle, or its value changes by the way."""
    ramp = np.linspace(0, 1, 41)[:, None, None] * np.ones([1, 41, 1])
    turned = corruptions.rotation(ramp, 30, RNG)[..., 0]
    down, right = (np.diff(turned, axis=axis)[15:25, 15:25].mean() * 40 for axis in (0, 1))
    assert (down, abs(right)) == (pytest.approx(np.cos(np.pi / 6), abs=1e-6), pytest.approx(0.5, abs=1e-6))
    square = np.arange(41)[:, None, None] * np.array([1.0, 0]) + np.arange(41)[None, :, None] * np.array([0, 1.0])
    moved = (square - corruptions.translation(square, 0.1, RNG))[20, 20]
    assert np.hypot(*moved) == pytest.approx(4.1)


def test_what_may_be_asked_for():
    assert corruptions.parse("noise:3, JPEG:1,noise:3") == [("noise", 3), ("jpeg", 1)]
    assert corruptions.parse("blur") == [("blur", level) for level in range(1, 6)]
    assert len(corruptions.parse("all")) == 40
    assert corruptions.parse("all:2") == [(name, 2) for name in corruptions.CORRUPTIONS]
    for text, what in (
        ("fog:1", "unknown corruption in --corrupt 'fog'; known: noise, blur"),
        ("blur:6", "'6': give 1"),
    ):
        with pytest.raises(UserError, match=what):
            corruptions.parse(text)


def test_what_is_no_image_is_refused():
    corruptions.check_images((8, 8, 1))
    for shape in ((6,), (8, 8), (1, 100, 1)):
        with pytest.raises(UserError, match="--corrupt is for images"):
            corruptions.check_images(shape)


def test_a_channel_without_values_stays():
    x = np.zeros([2, 8, 8, 1], np.float32)
    assert corrupted(x, "blur", 1).max() == 0
