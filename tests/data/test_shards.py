"""The parts of the ranks are disjoint, complete and equally large, for any numbers of ranks and examples."""

import numpy as np
import pytest

from bnn_hvd.data import shards

RANDOM = np.random.default_rng(0)
CASES = [  # num_train, size, batch_size
    (1, 1, 1),
    (60_000, 2, 64),
    *((int(RANDOM.integers(s * b, 3000)), s, b) for s, b in RANDOM.integers(1, 17, size=(20, 2)).tolist()),
]


def all_ranks(permutation: np.ndarray, offset: int, steps: int, batch_size: int, size: int) -> np.ndarray:
    """Return the batches of all ranks [size, steps, batch_size]."""
    return np.stack([shards.batches(permutation, offset, steps, batch_size, rank, size) for rank in range(size)])


def test_the_permutation_is_one_and_depends_on_seed_and_epoch():
    first = shards.epoch_permutation(0, 0, 500)
    assert first.dtype == np.int32
    np.testing.assert_array_equal(np.sort(first), np.arange(500))
    np.testing.assert_array_equal(first, shards.epoch_permutation(0, 0, 500))
    for other in (shards.epoch_permutation(1, 0, 500), shards.epoch_permutation(0, 1, 500), np.arange(500)):
        assert np.mean(first == other) < 0.02  # 1 of 500 agrees on average; 10 or more with probability 1e-7


@pytest.mark.parametrize(("num_train", "size", "batch_size"), CASES)
def test_an_epoch_is_disjoint_complete_and_equal(num_train, size, batch_size):
    permutation = shards.epoch_permutation(3, 1, num_train)
    steps = shards.steps_left(0, num_train, size * batch_size)
    used = all_ranks(permutation, 0, steps, batch_size, size)
    assert used.shape == (size, steps, batch_size)
    assert used.dtype == np.int32
    assert len(np.unique(used)) == used.size  # disjoint
    assert num_train - used.size < size * batch_size  # complete, except for less than one global batch
    assert shards.steps_left(used.size, num_train, size * batch_size) == 0


@pytest.mark.parametrize(("num_train", "size", "batch_size"), CASES)
def test_ranks_together_see_the_window_of_one_rank(num_train, size, batch_size):
    permutation, global_batch = shards.epoch_permutation(3, 1, num_train), size * batch_size
    offset = int(RANDOM.integers(0, num_train - global_batch + 1))
    steps = shards.steps_left(offset, num_train, global_batch)
    together = all_ranks(permutation, offset, steps, batch_size, size)
    alone = shards.batches(permutation, offset, steps, global_batch, 0, 1)
    for step in range(steps):
        np.testing.assert_array_equal(np.sort(together[:, step], axis=None), np.sort(alone[step]))
    np.testing.assert_array_equal(alone[0], permutation[offset : offset + global_batch])


def test_strides_by_hand():
    permutation = np.arange(100, 112, dtype=np.int32)
    np.testing.assert_array_equal(shards.batches(permutation, 1, 2, 2, 0, 2), [[101, 103], [105, 107]])
    np.testing.assert_array_equal(shards.batches(permutation, 1, 2, 2, 1, 2), [[102, 104], [106, 108]])


def test_steps_in_two_calls_equal_steps_in_one():
    permutation = shards.epoch_permutation(0, 0, 1000)
    whole = shards.batches(permutation, 0, 10, 16, 1, 3)
    resumed = shards.batches(permutation, 4 * 48, 6, 16, 1, 3)
    np.testing.assert_array_equal(whole[4:], resumed)


def test_the_number_of_ranks_may_change_within_an_epoch():
    permutation = shards.epoch_permutation(0, 0, 1000)
    before = all_ranks(permutation, 0, 5, 16, 2)
    after = all_ranks(permutation, before.size, shards.steps_left(before.size, 1000, 3 * 16), 16, 3)
    used = np.concatenate([before.ravel(), after.ravel()])
    assert len(np.unique(used)) == len(used) > 1000 - 3 * 16


def test_steps_left():
    assert [shards.steps_left(offset, 100, 30) for offset in (0, 9, 10, 11, 70, 71, 100, 120)] == [
        3,
        3,
        3,
        2,
        1,
        0,
        0,
        0,
    ]


def test_no_step_reaches_beyond_the_epoch():
    with pytest.raises(AssertionError):
        shards.batches(np.arange(10), 3, 2, 2, 0, 2)
    with pytest.raises(AssertionError):
        shards.batches(np.arange(10), 0, 1, 2, 2, 2)


@pytest.mark.parametrize("num_examples", [0, 1, 9, 10, 11, 360, 10_000])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
def test_slices_cover_each_example_once_in_chunks_that_do_not_depend_on_size(num_examples, size):
    per_rank = [shards.slices(num_examples, 10, rank, size) for rank in range(size)]
    in_order = [s for part in per_rank for s in part]  # the part of each rank is contiguous
    assert in_order == shards.slices(num_examples, 10, 0, 1)
    covered = [i for s in in_order for i in range(s.start, s.stop)]
    assert covered == list(range(num_examples))
    assert all(s.start % 10 == 0 and 0 < s.stop - s.start <= 10 for s in in_order)
    counts = [len(part) for part in per_rank]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("num_train", [7, 12, 60_000])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shards_cover_each_example_once(num_train, size):
    mine = [range(num_train)[shards.shard(num_train, rank, size)] for rank in range(size)]
    assert [i for part in mine for i in part] == list(range(num_train))
    assert max(map(len, mine)) - min(map(len, mine)) <= 1
