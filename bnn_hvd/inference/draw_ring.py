"""Ring buffers: for each chain, the last draws that are kept, and the trace of the last trajectories.

Legend: M chains, K rows of a ring, S draws.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class DrawRing:
    """Which trajectories are kept, and in which row of a ring.

    burn_in: number of trajectories of burn-in, of which none is kept.
    every: after burn-in, every so many-th trajectory is kept.
    rows: K, the length of the ring; the oldest draw is overwritten.
    """

    burn_in: int
    every: int
    rows: int

    def num_written(self, step: Any) -> Any:
        """Return how many draws were written after `step` trajectories, including those overwritten since."""
        return tf.maximum(step - self.burn_in, 0) // self.every

    def num_kept(self, step: Any) -> Any:
        """Return how many rows are filled after `step` trajectories."""
        return tf.minimum(self.num_written(step), self.rows)

    def write(self, rings: Mapping[str, tf.Variable], draws: Mapping[str, tf.Tensor], step: tf.Tensor) -> None:
        """Write draws[name] [M, ...] into rings[name] [M, K, ...], if trajectory `step` (1, 2, ...) is kept."""
        beyond = tf.cast(step - self.burn_in, tf.int32)
        due = tf.logical_and(beyond > 0, tf.equal(beyond % self.every, 0))

        def keep() -> tf.Tensor:
            for name, draw in draws.items():
                write_row(rings[name], beyond // self.every - 1, draw)
            return tf.constant(True)

        tf.cond(due, keep, lambda: tf.constant(True))

    def in_order(self, ring: np.ndarray, step: int) -> np.ndarray:
        """Return what is kept after `step` trajectories, the oldest first: ring [M, K, ...] -> [M, kept, ...]."""
        written, kept = int(self.num_written(step)), int(self.num_kept(step))
        return np.roll(ring, -written % self.rows if written > self.rows else 0, axis=1)[:, :kept]

    def pick(self, ring: tf.Variable, now: tf.Tensor, chain_S: tf.Tensor, index_S: tf.Tensor, step: Any) -> tf.Tensor:
        """Return kept draws [S, ...]: entry s is draw index_S[s] of chain chain_S[s], from ring [M, K, ...].

        Before the first draw is kept, it is the state of that chain, from `now` [M, ...]. Indices are permuted, so that
        the first few are spread evenly over the chain.
        """
        kept = tf.cast(self.num_kept(step), tf.int32)
        row_S = tf.gather(spread(self.rows), index_S % self.rows) % tf.maximum(kept, 1)
        drawn = tf.gather_nd(ring, tf.stack([chain_S, row_S], -1))
        return tf.where(kept > 0, drawn, tf.gather(now, chain_S))


def write_row(ring: tf.Variable, index: tf.Tensor, values: tf.Tensor) -> None:
    """Write values [M, ...] into ring [M, K, ...] as entry `index` (0, 1, ...), which overwrites entry `index` - K."""
    ring[:, index % ring.shape[1]].assign(values)


def chronological(ring_MK: np.ndarray, written: int) -> tuple[int, np.ndarray]:
    """Return how many of the `written` entries were overwritten, and the others of ring [M, K, ...], oldest first."""
    rows = ring_MK.shape[1]
    if written <= rows:
        return 0, ring_MK[:, :written]
    return written - rows, np.roll(ring_MK, -(written % rows), axis=1)


def spread(count: int) -> np.ndarray:
    """Return a permutation of range(count), whose first n entries are spread evenly for every n (golden section)."""
    stride = next((s for s in range(round(count * 0.618), count) if np.gcd(s, count) == 1), 1)
    return (np.arange(count) * stride % count).astype(np.int32)
