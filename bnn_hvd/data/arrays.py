"""A data set in memory."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Arrays:
    """A training part, a test part, and for curves a grid to draw.

    x: [N, H, W, C] images or [N, D] vectors, uint8 as it was in the file or float32. y [N]: class numbers,
    int32; or with num_classes = 0 real targets, float32.
    input_names: of the columns of a table.
    x_grid: inputs [G, 1] at which to draw a prediction, truth_grid: the curve without noise there [G].
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    class_names: tuple[str, ...]
    input_names: tuple[str, ...] = ()
    x_grid: np.ndarray | None = None
    truth_grid: np.ndarray | None = None
