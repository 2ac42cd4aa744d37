"""The test part of data that come as one part."""

import numpy as np


def test_rows(count: int, fraction: float) -> np.ndarray:
    """Return which of `count` examples are the test part: a fraction of them, rounded down, bool [count].

    They come from a shuffle that is the same for every --seed, and a larger fraction has those of a smaller one.
    """
    rows = np.zeros(count, bool)
    num_test = int(fraction * count + 1e-9)  # 0.29 of 100 are 29
    rows[np.random.default_rng(0).permutation(count)[:num_test]] = True
    return rows
