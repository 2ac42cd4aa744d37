"""Reference implementations: clear, in numpy and float64, without the package's own code; and fake ranks."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np

from bnn_hvd.distributed.cluster import Solo

RARE = 6.5  # standard deviations: one number exceeds them by chance with probability 8e-11


def z_scores(values_K: np.ndarray, expected: Any) -> np.ndarray:
    """Return by how many standard errors the mean over K independent values is away from `expected`."""
    values_K = np.asarray(values_K, np.float64)
    error = values_K.std(0, ddof=1) / np.sqrt(len(values_K))
    return (values_K.mean(0) - expected) / np.maximum(error, 1e-12)


def covariance_z_scores(values_KD: np.ndarray, mean_D: np.ndarray, covariance_DD: np.ndarray) -> np.ndarray:
    """Return by how many standard errors the second moments of K Gaussian vectors differ from `covariance_DD`."""
    centred = np.asarray(values_KD, np.float64) - mean_D
    variance_D = np.diag(covariance_DD)
    error = np.sqrt((np.outer(variance_D, variance_D) + covariance_DD**2) / len(centred))
    return (centred.T @ centred / len(centred) - covariance_DD) / error


def correlate_same(x_NHWC: np.ndarray, kernel_hwCF: np.ndarray) -> np.ndarray:
    """Return the SAME correlation, stride 1, term by term: y[p] = sum_q x[p + q - (width - 1) // 2] kernel[q]."""
    height, width = kernel_hwCF.shape[:2]
    top, left = (height - 1) // 2, (width - 1) // 2
    padded = np.pad(x_NHWC.astype(np.float64), [(0, 0), (top, height - 1 - top), (left, width - 1 - left), (0, 0)])
    y = np.zeros([*x_NHWC.shape[:3], kernel_hwCF.shape[3]])
    for i in range(height):
        for j in range(width):
            y += padded[:, i : i + x_NHWC.shape[1], j : j + x_NHWC.shape[2]] @ kernel_hwCF[i, j].astype(np.float64)
    return y


def max_pool_same(x_NHWC: np.ndarray) -> np.ndarray:
    """Return the maximum over 2x2, stride 2; odd sizes are padded at the end."""
    _, height, width, _ = x_NHWC.shape
    padded = np.pad(x_NHWC, [(0, 0), (0, height % 2), (0, width % 2), (0, 0)], constant_values=-np.inf)
    quarters = [padded[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return np.max(quarters, axis=0)


def kl_normal(loc: np.ndarray, scale: np.ndarray, prior_scale: float) -> float:
    """Return KL(N(loc, scale^2) || N(0, prior_scale^2)), summed, in nats (Kingma & Welling 2014, appendix B)."""
    loc, scale = np.asarray(loc, np.float64), np.asarray(scale, np.float64)
    return float(np.sum(np.log(prior_scale / scale) + (scale**2 + loc**2) / (2 * prior_scale**2) - 0.5))


class OneOf(Solo):
    """One of several ranks; it gathers only its own values."""

    def __init__(self, rank: int, size: int):
        super().__init__()
        self.rank, self.size = rank, size


class FakeRank:
    """The communication of Cluster between ranks that are threads of this process; eager only."""

    local_size = 1
    local_rank = first_row = 0
    concat = staticmethod(lambda tensors, name: list(tensors))
    compression = "none"
    gradient_blocks = 0

    def __init__(self, rank: int, size: int, table: list[Any], barrier: threading.Barrier):
        self.rank, self.size, self._table, self._barrier = rank, size, table, barrier

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        self._table[self.rank] = value
        self._barrier.wait()
        everything = list(self._table)
        self._barrier.wait()
        return everything

    def mean(self, tensors: Any, name: str) -> list[Any]:
        rows = self.gather(list(tensors))
        return [sum(column[1:], start=column[0]) / self.size for column in zip(*rows, strict=True)]

    def sum(self, tensors: Any, name: str) -> list[Any]:
        rows = self.gather(list(tensors))
        return [sum(column[1:], start=column[0]) for column in zip(*rows, strict=True)]

    def max(self, values: Any) -> list[float]:
        return [max(column) for column in zip(*self.gather(list(values)), strict=True)]

    def any(self, flag: bool) -> bool:
        return any(self.gather(flag))

    def gather_on_root(self, value: Any) -> list[Any] | None:
        everyone = self.gather(value)
        return everyone if self.is_root else None

    def scatter(self, values: Any) -> Any:
        return self.gather(values)[0][self.rank]

    def broadcast(self, value: Any) -> Any:
        return self.gather(value)[0]

    def barrier(self) -> None:
        self.gather(None)

    def split(self, ranks: range, first_row: int) -> Any:
        """Return the rank and the size of this rank's group, which has no communication of its own."""
        return SimpleNamespace(rank=self.rank - ranks.start, size=len(ranks), first_row=first_row)


def run_ranks(size: int, function: Callable[[FakeRank], Any]) -> list[Any]:
    """Return the results of `function(cluster)` on `size` ranks that run at the same time, in order of rank."""
    table, barrier = [None] * size, threading.Barrier(size, timeout=60)

    def on_rank(rank: int) -> Any:
        try:
            return function(FakeRank(rank, size, table, barrier))
        except Exception:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(on_rank, rank) for rank in range(size)]
    errors = [error for error in (future.exception() for future in futures) if error]
    for error in sorted(errors, key=lambda e: isinstance(e, threading.BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]


def draws(indices: Any, root: int = 0) -> Any:
    """Return the argument of a method's `draw` that asks for the posterior draws of these indices."""
    import tensorflow as tf

    from bnn_hvd import seeds
    from bnn_hvd.inference.method import Draws

    return Draws(tf.constant(list(indices)), tf.constant(np.stack([seeds.seed(root, "draw", i) for i in indices])))
