"""Ranks that would communicate different things are refused with one sentence, and what MPI can't count is too."""

import pytest
import tensorflow as tf

from bnn_hvd.distributed import collectives
from bnn_hvd.distributed.collectives import Collective
from bnn_hvd.errors import TrainingError, UserError

EVERY, LEFT, RIGHT = range(4), range(2), range(2, 4)


def mean(name: str, ranks: range, *shape: int) -> Collective:
    return Collective("mean", name, ranks, collectives.reduced([tf.zeros(shape)]))


def test_groups_may_differ_and_so_may_the_rows_that_are_joined():
    rows = [Collective("join", "particles", EVERY, collectives.concatenated([tf.zeros([m, 5])])) for m in (1, 2, 3, 1)]
    mine = [mean("gradient", LEFT, 3)] * 2 + [mean("gradient", RIGHT, 7)] * 2
    collectives.check_equal([[a, b] for a, b in zip(rows, mine, strict=True)])


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ([], r"rank 3 would communicate nothing more where rank 2 would communicate gradient \(mean of float32"),
        ([mean("gradient", RIGHT, 8)], r"communicate gradient \(mean of float32 \[8\]\) where .* float32 \[7\]"),
        ([mean("loss", RIGHT, 7)], r"rank 3 would communicate loss .* where rank 2 would communicate gradient"),
        ([mean("gradient", RIGHT, 7), mean("loss", RIGHT)], r"communicate loss .* communicate nothing more"),
    ],
)
def test_the_first_difference_within_a_group_is_named(last, said):
    same = [[mean("gradient", LEFT, 3)]] * 2 + [[mean("gradient", RIGHT, 7)]]
    with pytest.raises(TrainingError, match=said):
        collectives.check_equal([*same, last])


def test_more_numbers_than_mpi_counts_are_refused():
    million = tf.TensorSpec([1000, 1000])
    collectives.check_size("particles", [million], copies=2147)
    with pytest.raises(UserError, match="particles has 2148000000 numbers"):
        collectives.check_size("particles", [million], copies=2148)


def test_a_constant_of_a_graph_is_known():
    seen = []

    @tf.function(autograph=False)
    def trace(x):
        seen.extend(map(collectives.is_constant, (x, tf.zeros([3]), x + 1.0)))
        return x

    trace(tf.ones([3]))
    assert seen == [False, True, False]
    assert not collectives.is_constant(tf.ones([3]))
