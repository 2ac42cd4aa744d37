"""Random crops and flips of training images: which, for each example of an epoch. Pure; equal on every rank.

They belong to the example, not to the rank that has it: another number of ranks sees the same images. Their seed is
that of the order of the examples (--shuffle_seed), in a stream of its own.
"""

import functools

import numpy as np

from bnn_hvd import seeds

BORDER = 4  # zeros around an image, out of which a crop of the image's own size is taken
NOTHING = np.zeros([0, 0, 0], np.int32)


@functools.lru_cache(maxsize=2)
def of_epoch(seed: int, epoch: int, num_train: int, crop: bool, flip: bool) -> np.ndarray:
    """Return [num_train, 3] int32: the first row and column of the crop, and whether to flip it (0 or 1)."""
    generator = seeds.generator(seed, "augment", epoch)
    offset = generator.integers(0, 2 * BORDER + 1, [num_train, 2])
    flipped = generator.integers(0, 2, [num_train, 1])
    if not crop:
        offset[:] = BORDER
    return np.concatenate([offset, flipped * flip], axis=1).astype(np.int32)
