"""Stateless seeds: everything random is a pure function of (root seed, stream, index).

A run can therefore be resumed from its step number alone, and a prediction does not depend on
the number of ranks. Which streams are equal on all ranks, and what indexes them:

| stream  | equal on all ranks                                          | index       |
|---------|-------------------------------------------------------------|-------------|
| init    | yes                                                         | -           |
| shuffle | yes: one global permutation, each rank takes its stride     | epoch       |
| noise   | no: independent noise per rank lowers the gradient variance | rank, step  |
| draw    | yes, by draw: a prediction must not depend on the ranks     | draw        |
| chain   | yes: every shard makes the same trajectory and decision     | step        |
| augment | yes: crops and flips belong to the example                  | epoch       |

With --gradient_blocks all ranks have the noise seed of rank 0, and each block adds its number (inference/blocks.py).
"""

import hashlib

import numpy as np

STREAMS = ("init", "shuffle", "noise", "draw", "chain", "augment")  # numbered by their place: new ones come last


def seed(root: int, stream: str, *index: int) -> np.ndarray:
    """Return the pair of int64 [2] that seeds TensorFlow's and numpy's stateless generators.

    A cryptographic hash separates the streams: seeds that differ in one bit of any argument give
    unrelated random numbers.
    """
    text = ",".join([str(int(root)), str(STREAMS.index(stream)), *(str(int(i)) for i in index)])
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), "<i8").copy()


def generator(root: int, stream: str, *index: int) -> np.random.Generator:
    """Return a numpy generator for the same seed (permutations and splits of the data)."""
    return np.random.Generator(np.random.Philox(key=seed(root, stream, *index).view(np.uint64)))
