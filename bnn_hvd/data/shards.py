"""Rank arithmetic: which examples a rank trains on and evaluates. Pure; no communication needed.

An epoch is one permutation of the training part, the same on every rank. Each step takes the next
global_batch = size * batch_size entries of it, and each rank a stride of these. Progress is the number of examples
taken, so a run can go on with another number of ranks. The end of an epoch, if shorter than a global batch, is not
used.
"""

import functools

import numpy as np

from bnn_hvd import seeds


@functools.lru_cache(maxsize=2)  # every call of the training loop asks for its epoch
def epoch_permutation(seed: int, epoch: int, num_train: int) -> np.ndarray:
    """Return the order of the training examples in `epoch`: int32 [num_train]."""
    return seeds.generator(seed, "shuffle", epoch).permutation(np.arange(num_train, dtype=np.int32))


def steps_left(offset: int, num_train: int, global_batch: int) -> int:
    """Return the number of whole steps that are left in the epoch after `offset` examples."""
    return max(0, num_train - offset) // global_batch


def batches(permutation: np.ndarray, offset: int, steps: int, batch_size: int, rank: int, size: int) -> np.ndarray:
    """Return the indices of the examples of `rank` in the next `steps` steps: int32 [steps, batch_size].

    Each step has a window of the permutation; rank r takes window[r::size].
    """
    assert 0 <= rank < size, (rank, size)
    assert steps <= steps_left(offset, len(permutation), size * batch_size), (offset, steps, len(permutation))
    window = permutation[offset : offset + steps * size * batch_size]
    return np.ascontiguousarray(window.reshape(steps, batch_size, size)[:, :, rank])


def shard(num_train: int, rank: int, size: int) -> slice:
    """Return the shard of `rank` for full-batch steps. Shards are contiguous; their sizes differ by at most one."""
    return slice(num_train * rank // size, num_train * (rank + 1) // size)


def slices(num_examples: int, chunk: int, rank: int, size: int) -> list[slice]:
    """Return the chunks of `rank`, for evaluation and prediction; the chunks of all ranks cover each example once.

    The boundaries of chunks do not depend on `size`: every number of ranks computes the same sum per chunk.
    """
    num_chunks = -(-num_examples // chunk)
    mine = range(num_chunks * rank // size, num_chunks * (rank + 1) // size)
    return [slice(i * chunk, min((i + 1) * chunk, num_examples)) for i in mine]
