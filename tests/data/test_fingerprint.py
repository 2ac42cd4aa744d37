"""The fingerprint of data sees every change of their content, and nothing else."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import running

from bnn_hvd.data import fingerprint, sources
from bnn_hvd.data.fingerprint import Fingerprint


def of(**changes: np.ndarray) -> Fingerprint:
    return Fingerprint.of(dataclasses.replace(sources.load("digits", ""), **changes))


def changed(x: np.ndarray, index: int) -> np.ndarray:
    x = x.copy()
    x.reshape(-1)[index] ^= 1
    return x


def test_a_bit_a_shape_or_a_type_changes_the_fingerprint_of_its_part():
    digits, first = sources.load("digits", ""), of()
    x, y = digits.x_train, digits.y_train
    swapped = x[[1, 0, *range(2, len(x))]]
    for train in (
        {"x_train": changed(x, 0)}, {"x_train": changed(x, -1)}, {"y_train": changed(y, 700)}, {"x_train": swapped},
        {"y_train": np.random.default_rng(0).permutation(y)}, {"x_train": x.reshape(len(x), -1)},
        {"x_train": x.astype(np.float32)}, {"x_train": x[:-1], "y_train": y[:-1]},
    ):  # fmt: skip
        assert of(**train).train != first.train
        assert of(**train).test == first.test
    test = of(x_test=changed(digits.x_test, 5))
    assert (test.train == first.train, test.test == first.test) == (True, False)


def test_it_is_of_the_content_and_not_of_the_file(tmp_path):
    """Another name, another time, and a compressed file: the same data."""
    path = running.write_npz(tmp_path / "data.npz")
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "copy.npz"
    shutil.copy(path, copy)
    os.utime(copy, (0, 0))
    with np.load(path) as arrays:
        np.savez_compressed(tmp_path / "small.npz", **arrays)
    paths = (path, copy, tmp_path / "small.npz")
    assert len({Fingerprint.of(sources.load("npz", str(one))) for one in paths}) == 1


def test_the_memory_layout_does_not_matter():
    x = sources.load("digits", "").x_train
    assert of(x_train=np.asfortranarray(x)) == of()


@pytest.mark.parametrize("index", [0, -1])
def test_of_large_arrays_evenly_spread_blocks_count(monkeypatch, index):
    """20 of 90 blocks, with the first and the last; and at most so many bytes are hashed."""
    monkeypatch.setattr(fingerprint, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(fingerprint, "MOST_BLOCKS", 20)
    x = sources.load("digits", "").x_train
    assert x.nbytes > 4 * 20 * 1024
    assert of(x_train=changed(x, index)).train != of().train
    assert sum(block.size for block in fingerprint._blocks(x.reshape(-1))) == 20 * 1024
