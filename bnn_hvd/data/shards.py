"""Rank arithmetic: which examples a rank trains on and evaluates. Pure; no communication needed.

An epoch is one permutation of the training part, the same on every rank. Each step consumes the next
global_batch = size * batch_size entries of it, of which a rank takes its stride. Progress is the number
of examples consumed, so a run can go on with another number of ranks. What is left at the end of an
epoch, less than one global batch, is not used in it.
"""

import functools

import numpy as np

from bnn_hvd import seeds


@functools.lru_cache(maxsize=2)  # an epoch is asked for once a call of the training loop
def epoch_permutation(seed: int, epoch: int, num_train: int) -> np.ndarray:
    """Return the order of the training examples in `epoch`: int32 [num_train]."""
    return seeds.generator(seed, "shuffle", epoch).permutation(np.arange(num_train, dtype=np.int32))


def steps_left(offset: int, num_train: int, global_batch: int) -> int:
    """Return how many whole steps the epoch still has after `offset` examples of it."""
    return max(0, num_train - offset) // global_batch


def batches(permutation: np.ndarray, offset: int, steps: int, batch_size: int, rank: int, size: int) -> np.ndarray:
    """Return the examples of `rank` in the next `steps` steps: int32 [steps, batch_size].

    A step's window of the permutation is dealt out like cards: rank r takes window[r::size].
    """
    assert 0 <= rank < size, (rank, size)
    assert steps <= steps_left(offset, len(permutation), size * batch_size), (offset, steps, len(permutation))
    window = permutation[offset : offset + steps * size * batch_size]
    return np.ascontiguousarray(window.reshape(steps, batch_size, size)[:, :, rank])


def shard(num_train: int, rank: int, size: int) -> slice:
    """Return the examples of `rank` where a step takes them all: contiguous, disjoint, complete, equal but for one."""
    return slice(num_train * rank // size, num_train * (rank + 1) // size)


def slices(num_examples: int, chunk: int, rank: int, size: int) -> list[slice]:
    """Return the slices of `rank`, for evaluation and prediction: together, all ranks cover each example once.

    The cuts between chunks do not depend on `size`: every number of ranks computes the same sums per chunk.
    """
    num_chunks = -(-num_examples // chunk)
    mine = range(num_chunks * rank // size, num_chunks * (rank + 1) // size)
    return [slice(i * chunk, min((i + 1) * chunk, num_examples)) for i in mine]
