"""Stateless seeds: every random number of a run is a pure function of (root seed, stream, index).

A run can therefore resume from its step number alone, and a prediction does not depend on the number of ranks.
The streams:

| stream  | root seed      | equal on all ranks                                          | index      |
|---------|----------------|-------------------------------------------------------------|------------|
| init    | --init_seed    | yes                                                         | -          |
| shuffle | --shuffle_seed | yes: one global permutation, each rank takes its stride     | epoch, [1] |
| noise   | --noise_seed   | no: independent noise per rank lowers the gradient variance | rank, step |
| draw    | --seed         | yes: a prediction must not depend on the number of ranks    | draw       |
| chain   | --seed         | yes: all ranks run one trajectory and accept or reject it   | step       |
| augment | --shuffle_seed | yes: crops and flips belong to the example                  | epoch, [1] |
| strain  | --shuffle_seed | yes: the noise that is added belongs to the example         | epoch      |
| sets    | --seed         | yes: conformal sets of classes are random at their edge     | -          |
| corrupt | 0              | yes: all runs are compared on the same corrupted images     | kind, example |

[1]: with --member_batches=own also the member, but for member 0.

--seed is the default of the others. The splits of tables and ratings have one seed for all runs.

A step has one seed; `derive` returns the seeds of its members, blocks, layers and purposes. With --gradient_blocks all
ranks have the noise seed of rank 0, and each block has a seed derived from it.
"""

import hashlib
from typing import Any

import numpy as np

BLOCK = 1 << 32  # distance of the seeds of two gradient blocks: more than any number of a layer or a purpose
# The index is hashed: append new ones at the end.
STREAMS = ("init", "shuffle", "noise", "draw", "chain", "augment", "strain", "sets", "corrupt")


def seed(root: int, stream: str, *index: int) -> np.ndarray:
    """Return the seed, int64 [2], of TensorFlow's and numpy's stateless generators.

    A cryptographic hash separates the streams: seeds that differ in one bit of any argument give
    unrelated random numbers.
    """
    text = ",".join([str(int(root)), str(STREAMS.index(stream)), *(str(int(i)) for i in index)])
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), "<i8").copy()


def generator(root: int, stream: str, *index: int) -> np.random.Generator:
    """Return a numpy generator for the same seed (permutations and splits of the data)."""
    return np.random.Generator(np.random.Philox(key=seed(root, stream, *index).view(np.uint64)))


def of_member(root: int, stream: str, index: int, member: int) -> np.random.Generator:
    """Return the generator of a member of an ensemble; member 0 has that of a run without members."""
    return generator(root, stream, index, *([member] if member else []))


def derive(
    seed: Any, *, member: Any = None, example: Any = None, block: Any = None, layer: int = 0, purpose: int = 0
) -> Any:
    """Return a seed derived from `seed`: int64 [2], or [M, 2] for M members or examples.

    It is a sum, not a hash, because that costs nothing inside a compiled step; seeds from `seed` are far apart, so that
    sums do not collide.

    seed: [2] or [M, 2], of numpy or TensorFlow, also inside a graph.
    member: numbers of M members of an ensemble, particles or chains, [M]; member 0 has the seed of a run without.
    example: numbers of M examples in the training part, [M].
    block: number of a gradient block (inference/gradient_blocks.py).
    layer: number of a Bayesian parameter, in the order of the flat vector, from 1.
    purpose: number of another use of random numbers in the same computation, from 1.
    """
    assert not (layer and purpose), "layers and purposes share their numbers"
    if layer or purpose:
        seed = seed + [0, layer + purpose]
    if block is not None:
        seed = seed + block * np.array([0, BLOCK], np.int64)
    if example is not None:
        seed = seed + example[:, None] * np.array([1, 0], np.int64)
    if member is not None:
        seed = seed + np.stack([member, np.zeros_like(member)], axis=-1)
    return seed
