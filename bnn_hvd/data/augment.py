"""Random crops and flips of training images, for each example of an epoch. Pure; equal on every rank.

The crop and the flip of an example do not depend on its rank, so another number of ranks sees the same images. The
seed is that of the order of the examples (--shuffle_seed), with the stream "augment".
"""

import functools

import numpy as np

from bnn_hvd import seeds

BORDER = 4  # zeros added on each side of an image; a crop has the size of the image
NOTHING = np.zeros([0, 0, 0], np.int32)


@functools.lru_cache(maxsize=2)
def epoch_augmentations(seed: int, epoch: int, num_train: int, members: range, crop: bool, flip: bool) -> np.ndarray:
    """Return `epoch_augmentation` of M members: [M, num_train, 3]."""
    return np.stack([epoch_augmentation(seed, epoch, num_train, crop, flip, member) for member in members])


def epoch_augmentation(seed: int, epoch: int, num_train: int, crop: bool, flip: bool, member: int = 0) -> np.ndarray:
    """Return [num_train, 3] int32: the first row and column of the crop, and whether to flip it (0 or 1).

    Member 0 has that of a single network.
    """
    generator = seeds.of_member(seed, "augment", epoch, member)
    offset = generator.integers(0, 2 * BORDER + 1, [num_train, 2])
    flipped = generator.integers(0, 2, [num_train, 1])
    if not crop:
        offset[:] = BORDER
    return np.concatenate([offset, flipped * flip], axis=1).astype(np.int32)
