"""A sine with noise that grows with x: the curve and its noise are known, inside the data and far outside."""

import dataclasses

import numpy as np

from bnn_hvd.config.options import REAL_TARGETS, DataOptions
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.errors import UserError

NUM_TRAIN, NUM_TEST, NUM_GRID = 1000, 1000, 1601
EDGE, FAR = np.pi / 2, 4 * np.pi
NOISE = (0.05, 0.2)  # standard deviation at the left and at the right edge of the interval


@dataclasses.dataclass(frozen=True)
class SineOptions(DataOptions):
    """Facts of sine; it has no flags of its own."""

    takes = REAL_TARGETS | {"standardize"}


def sine(path: str) -> Arrays:
    """Return y = sin x + noise on [-pi/2, pi/2], and sin x itself on [-4 pi, 4 pi] as the grid.

    The standard deviation of the noise grows linearly from 0.05 to 0.2. The data are the same for every --seed.
    """
    if path:
        raise UserError(f"--dataset=sine is built in and reads no --data_dir={path}: leave it out")
    x_train, y_train = _part(0, NUM_TRAIN)
    x_test, y_test = _part(1, NUM_TEST)
    x_grid = np.linspace(-FAR, FAR, NUM_GRID, dtype=np.float32)
    return Arrays(
        x_train, y_train, x_test, y_test, num_classes=0, class_names=(),
        x_grid=x_grid[:, None], truth_grid=np.sin(x_grid),
    )  # fmt: skip


def _part(number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([number, 314])
    x = random.uniform(-EDGE, EDGE, size)
    scale = np.interp(x, (-EDGE, EDGE), NOISE)
    return x[:, None].astype(np.float32), (np.sin(x) + scale * random.normal(size=size)).astype(np.float32)
