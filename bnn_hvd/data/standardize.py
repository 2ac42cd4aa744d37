"""Standardisation: (x - mean) * inv_std, with the statistics of the training part."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnn_hvd.data.stored import Inputs, StoredArray, flat_rows

CHUNK_VALUES = 1 << 18  # values that are float64 at once: 2 MB, which fit into a core's cache


@dataclass(frozen=True, eq=False)
class Standardizer:
    """mean, inv_std: float32, broadcastable to one example (of shape [C], [D], the example's, or [])."""

    mean: np.ndarray
    inv_std: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Return lists of numbers that JSON keeps exactly."""
        return {"mean": self.mean.tolist(), "inv_std": self.inv_std.tolist()}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "Standardizer":
        return cls(np.asarray(saved["mean"], np.float32), np.asarray(saved["inv_std"], np.float32))


def fit(x_train: Inputs, how: str) -> Standardizer:
    """Fit the standardisation that --standardize names to `x_train` [N, ...].

    channel: statistics over examples, rows and columns of an image; for vectors, each feature is a channel.
    pixel: statistics over examples, for each entry of an example. none: values are not changed. unit: values are
    divided by the largest absolute value, and zero stays zero: a prior then has the same scale for every input.

    A constant channel or pixel gets inv_std = 0, because its scale is unknown. With inv_std = 1, a test image with
    255 in a corner that is always black in training would have one input far larger than all others.
    """
    if how == "none":
        return Standardizer(np.zeros([], np.float32), np.ones([], np.float32))
    if how == "unit":
        blocks = x_train.blocks() if isinstance(x_train, StoredArray) else [x_train]
        largest = max(max(float(x.max()), -float(x.min())) for x in blocks) or 1.0
        return Standardizer(np.zeros([], np.float32), np.array(1 / largest, np.float32))
    shape = {"channel": x_train.shape[-1:], "pixel": x_train.shape[1:]}[how]
    mean, variance = _moments(x_train, math.prod(shape))
    inv_std = np.divide(1.0, np.sqrt(variance), where=variance > 0, out=np.zeros_like(variance))
    return Standardizer(mean.astype(np.float32).reshape(shape), inv_std.astype(np.float32).reshape(shape))


def _moments(x: Inputs, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the (population) variance of each column of x, reshaped to [-1, columns]: float64 [columns].

    Differences from the first row are summed. The variance of a constant column is then exactly 0, and a column whose
    mean is large against its standard deviation keeps its digits.
    """
    shift, rows = flat_rows(x, columns, 0, 1)[0].astype(np.float64), max(1, CHUNK_VALUES // columns)
    count = x.size // columns
    total, total_squares = np.zeros(columns), np.zeros(columns)
    for start in range(0, count, rows):
        difference = flat_rows(x, columns, start, min(start + rows, count)) - shift
        total += difference.sum(axis=0)
        total_squares += np.einsum("nc,nc->c", difference, difference)
    mean = total / count
    return mean + shift, np.maximum(total_squares / count - mean**2, 0)
