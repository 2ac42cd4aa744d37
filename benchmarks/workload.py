"""The data and the batches of all libraries. The data have their real size, so that a gather misses the caches."""

import os
from pathlib import Path

import numpy as np

from benchmarks.workers import MOST_STEPS, REPOSITORY

BATCH_SIZE = 64
SHAPES = {"mnist": (60_000, 28, 28, 1), "cifar": (10_000, 32, 32, 3)}
FILES = {"mnist": "mnist.npz", "cifar": "cifar10_small.npz"}
DATA_OF = {"linear": "mnist", "fc": "mnist", "conv": "mnist", "vgg3": "cifar"}
MEAN, STD = 33.3, 78.6  # of MNIST's grey levels, for all data: the cost is the same


def folder() -> Path:
    """Return the folder of real data: BNN_HVD_DATA, or ../shared/data beside the repository."""
    return Path(os.environ.get("BNN_HVD_DATA", REPOSITORY.parent / "shared" / "data"))


def training_part(network: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the training part of a network: x [N, H, W, C] uint8 and y [N] int32; random if there is no file."""
    data = DATA_OF[network]
    shape, path = SHAPES[data], folder() / FILES[data]
    if path.is_file():
        with np.load(path) as arrays:
            return arrays["x_train"].reshape(shape), arrays["y_train"].astype(np.int32).ravel()
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, shape, np.uint8), rng.integers(0, 10, shape[0], np.int32)


def batches(num_examples: int) -> np.ndarray:
    """Return the indices of the examples of each step: int32 [MOST_STEPS, BATCH_SIZE]."""
    return np.random.default_rng(1).integers(0, num_examples, [MOST_STEPS, BATCH_SIZE], np.int32)


def mnist_file(scratch: Path) -> Path:
    """Return an mnist.npz for --data_dir: the real one if it exists, else random data of its shape."""
    real, made = folder() / FILES["mnist"], scratch / "mnist.npz"
    if real.is_file():
        return real
    x, y = training_part("fc")
    np.savez(made, x_train=x[..., 0], y_train=y, x_test=x[:10_000, ..., 0], y_test=y[:10_000])
    return made
