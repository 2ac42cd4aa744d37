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

A step has one seed; `derive` makes of it those of members, blocks, layers and purposes. With --gradient_blocks all
ranks have the noise seed of rank 0, and each block derives its own.
"""

import hashlib
from typing import Any

import numpy as np

BLOCK = 1 << 32  # from the seeds of one block of the gradient to those of the next: layers and purposes are small
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


def derive(seed: Any, *, member: Any = None, block: Any = None, layer: int = 0, purpose: int = 0) -> Any:
    """Return the seed of one part of what `seed` decides: [2] int64, or [M, 2] for M members.

    Sums, not hashes, so that it costs nothing inside a compiled step; the hash of `seed` has set them far apart.

    seed: [2] or [M, 2], of numpy or TensorFlow, also inside a graph.
    member: numbers of M members of an ensemble, particles or chains, [M]; member 0 has the seed of a run without.
    block: number of a block of the gradient (inference/gradient_blocks.py).
    layer: number of a layer, from 1. purpose: what else tells the random numbers of one computation apart, from 1.
    """
    assert not (layer and purpose), "layers and purposes share their numbers"
    if layer or purpose:
        seed = seed + [0, layer + purpose]
    if block is not None:
        seed = seed + block * np.array([0, BLOCK], np.int64)
    if member is not None:
        seed = seed + np.stack([member, np.zeros_like(member)], axis=-1)
    return seed
