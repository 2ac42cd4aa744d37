"""Crops and flips, against slices by hand."""

import numpy as np
import pytest
import running
import tensorflow as tf

from bnn_hvd.config import resolve
from bnn_hvd.data import augment, sources
from bnn_hvd.data.pipeline import crop_and_flip
from bnn_hvd.errors import UserError
from bnn_hvd.training.plan import Plan, Progress


def test_crop_and_flip_equal_slices_of_the_padded_image():
    x = np.random.default_rng(0).integers(1, 255, [4, 6, 5, 3]).astype(np.uint8)
    where = np.array([[4, 4, 0], [0, 8, 0], [7, 2, 1], [4, 4, 1]], np.int32)
    got = crop_and_flip(tf.constant(x), tf.constant(where)).numpy()
    padded = np.pad(x, [(0, 0), (4, 4), (4, 4), (0, 0)])
    for image, source, (row, column, flip) in zip(got, padded, where, strict=True):
        expected = source[row : row + 6, column : column + 5]
        np.testing.assert_array_equal(image, expected[:, ::-1] if flip else expected)
    np.testing.assert_array_equal(got[0], x[0])  # the central crop is the image itself
    np.testing.assert_array_equal(got[3], x[3][:, ::-1])


def test_every_crop_and_flip_occurs_and_equally_often():
    """9 x 9 x 2 cases among 162,000 examples: 1,000 each; 5 standard deviations are 158 (false fail: 1e-4)."""
    found = augment.epoch_augmentation(1, 0, 162_000, True, True)
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 162
    assert np.abs(counts - 1000).max() < 158


def test_words_switch_their_part_alone():
    crop, flip = augment.epoch_augmentation(1, 0, 100, True, False), augment.epoch_augmentation(1, 0, 100, False, True)
    both = augment.epoch_augmentation(1, 0, 100, True, True)
    np.testing.assert_array_equal(crop, both * [1, 1, 0])
    np.testing.assert_array_equal(flip, both * [0, 0, 1] + [4, 4, 0])
    assert (augment.epoch_augmentation(1, 1, 100, True, True) != both).any()


def test_an_example_is_cropped_alike_on_any_number_of_ranks():
    config = resolve(augment="crop_flip", batch_size=8, steps=2)
    one = Plan(resolve(augment="crop_flip", batch_size=16, steps=2), 64, 0, 1).next_call(Progress(), 2)
    two = [Plan(config, 64, rank, 2).next_call(Progress(), 2) for rank in range(2)]

    def of_example(call):
        return {int(i): tuple(a) for i, a in zip(call.examples.ravel(), call.augmentation.reshape(-1, 3), strict=True)}

    assert of_example(two[0]) | of_example(two[1]) == of_example(one)


def test_off_by_default_and_refused_for_vectors(tmp_path):
    assert Plan(resolve(steps=2), 640, 0, 1).next_call(Progress(), 1).augmentation.size == 0
    vectors = running.write_npz(tmp_path / "vectors.npz")
    with pytest.raises(UserError, match="these are vectors of 6: leave it out"):
        sources.load_configured(resolve(dataset="npz", data_dir=str(vectors), augment="flip"))
    with pytest.raises(UserError, match="--augment=flip is not used by --dataset=sine: leave it out"):
        resolve(dataset="sine", augment="flip")
