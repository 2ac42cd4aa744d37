"""Rank arithmetic: which examples a rank trains on and evaluates. Pure; no communication needed.

An epoch is one permutation of the training part, the same on every rank; with --member_batches=own, one for each
member of an ensemble. Each step takes the next
global_batch = size * batch_size entries of it, and each rank a stride of these. Progress is the number of examples
taken, so a run can go on with another number of ranks. The end of an epoch, if shorter than a global batch, is not
used.
"""

import functools

import numpy as np

from bnn_hvd import seeds


def epoch_permutation(seed: int, epoch: int, num_train: int, member: int = 0) -> np.ndarray:
    """Return the order of the training examples in `epoch`: int32 [num_train].

    Member 0 has that of a single network.
    """
    return seeds.of_member(seed, "shuffle", epoch, member).permutation(np.arange(num_train, dtype=np.int32))


@functools.lru_cache(maxsize=2)  # every call of the training loop asks for its epoch
def epoch_permutations(seed: int, epoch: int, num_train: int, members: range) -> np.ndarray:
    """Return the orders of M members: int32 [M, num_train]."""
    return np.stack([epoch_permutation(seed, epoch, num_train, member) for member in members])


def steps_left(offset: int, num_train: int, global_batch: int) -> int:
    """Return the number of whole steps that are left in the epoch after `offset` examples."""
    return max(0, num_train - offset) // global_batch


def batches(permutation: np.ndarray, offset: int, steps: int, batch_size: int, rank: int, size: int) -> np.ndarray:
    """Return the indices of the examples of `rank` in the next `steps` steps: int32 [steps, ..., batch_size].

    permutation: [..., num_train]. Each step has a window of it; rank r takes window[r::size].
    """
    assert 0 <= rank < size, (rank, size)
    *members, num_train = permutation.shape
    assert steps <= steps_left(offset, num_train, size * batch_size), (offset, steps, num_train)
    window = permutation[..., offset : offset + steps * size * batch_size]
    mine = window.reshape(*members, steps, batch_size, size)[..., rank]
    return np.ascontiguousarray(np.moveaxis(mine, -2, 0))


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
