"""A fingerprint of each part of a data set: of what it contains, not of where it is.

It is equal on all ranks and for every copy of the data, and tells whether a run goes on with the data that it began
with, and of which data a prediction is.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.stored import Inputs, StoredArray

DIGITS = 16  # hexadecimal: 64 bits
BLOCK_BYTES = 1 << 16
MOST_BLOCKS = 1 << 14  # 1 GiB: a second of SHA-256


class Fingerprint(NamedTuple):
    """The first 64 bits of the SHA-256 of the examples and targets of the training part and of the test part."""

    train: str
    test: str

    @classmethod
    def of(cls, arrays: Arrays) -> "Fingerprint":
        return cls(_digest(arrays.x_train, arrays.y_train), _digest(arrays.x_test, arrays.y_test))


def _digest(*arrays: Inputs) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        for block in _blocks(array):
            digest.update(block.data)
    return digest.hexdigest()[:DIGITS]


def _blocks(array: Inputs) -> Iterator[np.ndarray]:
    """Yield all bytes; of more than MOST_BLOCKS blocks, so many, evenly spread, with the first and the last."""
    size = array.size * array.dtype.itemsize
    if size <= MOST_BLOCKS * BLOCK_BYTES:
        for part in array.blocks() if isinstance(array, StoredArray) else [array]:
            yield _bytes(part)
        return
    values = array if isinstance(array, StoredArray) else _bytes(array)
    for start in np.linspace(0, size - BLOCK_BYTES, MOST_BLOCKS).astype(np.int64).tolist():
        if isinstance(values, np.ndarray):
            yield values[start : start + BLOCK_BYTES]
        else:
            first = start // values.example_bytes
            read = _bytes(values[first : -(-(start + BLOCK_BYTES) // values.example_bytes)])
            yield read[start - first * values.example_bytes :][:BLOCK_BYTES]


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
