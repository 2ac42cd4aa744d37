"""Standardisation: (x - mean) * inv_std, with the statistics of the training part."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK_VALUES = 1 << 18  # values that are float64 at a time: 2 MB, which a core's cache holds


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


def fit(x_train: np.ndarray, how: str) -> Standardizer:
    """Return the standardisation of `x_train` [N, ...] that --standardize says.

    channel: over examples, rows and columns of an image; for vectors, each feature is a channel.
    pixel: each entry of an example on its own. none: leaves the values as they are. unit: divides by the largest
    value that there is, and zero stays zero: a prior over weights then says the same of every input.

    A constant channel or pixel gets inv_std = 0: it becomes 0 in the training part whatever the factor,
    and a factor of 1 would let a value of 255 in a corner that was always black in training swamp every
    other input of a test image. Training can't know its scale, so it is left out.
    """
    if how == "none":
        return Standardizer(np.zeros([], np.float32), np.ones([], np.float32))
    if how == "unit":
        largest = max(float(x_train.max()), -float(x_train.min())) or 1.0
        return Standardizer(np.zeros([], np.float32), np.array(1 / largest, np.float32))
    shape = {"channel": x_train.shape[-1:], "pixel": x_train.shape[1:]}[how]
    mean, variance = _moments(x_train, math.prod(shape))
    inv_std = np.divide(1.0, np.sqrt(variance), where=variance > 0, out=np.zeros_like(variance))
    return Standardizer(mean.astype(np.float32).reshape(shape), inv_std.astype(np.float32).reshape(shape))


def _moments(x: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the (population) variance of each column of x seen as [-1, columns]: float64 [columns].

    Sums are of the differences from the first row. That makes a constant column's variance exactly 0, and
    keeps the digits of a column whose mean is large against its standard deviation.
    """
    x = x.reshape(-1, columns)
    shift, rows = x[0].astype(np.float64), max(1, CHUNK_VALUES // columns)
    total, total_squares = np.zeros(columns), np.zeros(columns)
    for start in range(0, len(x), rows):
        difference = x[start : start + rows] - shift
        total += difference.sum(axis=0)
        total_squares += np.einsum("nc,nc->c", difference, difference)
    mean = total / len(x)
    return mean + shift, np.maximum(total_squares / len(x) - mean**2, 0)
