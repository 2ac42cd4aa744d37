"""Objects arrive whole on the ranks that need them, in messages that are never larger than the limit."""

import numpy as np
import pytest
from oracles import run_ranks

from bnn_hvd.distributed import objects

LIMIT = 1000


class Wire:
    """The messages between ranks that are threads, of which none may be larger than the limit; counts bytes received.

    It does what MPI does: it takes arrays of the right type and shape only.
    """

    def __init__(self, ranks):
        self.ranks, self.received, self.messages = ranks, 0, 0

    def all_gather(self, mine):
        return self._count(np.concatenate(self.ranks.gather(mine.copy())))

    def from_root(self, mine):
        everyone = self.ranks.gather(mine.copy())
        assert len({(one.shape, one.dtype) for one in everyone}) == 1
        return self._count(everyone[0])

    def exchange(self, mine, counts):
        assert sum(counts) == len(mine)
        everyone = self.ranks.gather(np.split(mine, np.cumsum(counts)[:-1]))
        assert sum(len(part) for parts in everyone for part in parts) <= LIMIT
        return self._count(np.concatenate([parts[self.ranks.rank] for parts in everyone]))

    def _count(self, message):
        assert message.nbytes <= LIMIT
        self.received += message.nbytes
        self.messages += 1
        return message


def thing(rank: int):
    """Return an object with arrays of several types and sizes, different on each rank; some have no bytes."""
    random = np.random.default_rng(rank)
    sizes = random.integers(0, 700, size=3)
    return {
        "arrays": [random.normal(size=size) for size in sizes], "rank": rank, "step": np.array(7, np.int64),
        "matrix": random.normal(size=[rank, 5]).astype(np.float32), "text": "é" * rank, "nothing": None,
        "transposed": random.normal(size=[rank + 1, 40]).T, "flags": np.array([True] * (rank + 1)),
    }  # fmt: skip


def assert_equal(found, rank: int):
    np.testing.assert_equal(found, thing(rank))
    for array in found["arrays"]:
        assert array.flags.aligned
        assert array.flags.writeable


@pytest.fixture(autouse=True)
def small_messages(monkeypatch):
    monkeypatch.setattr(objects, "MOST_BYTES", LIMIT)


def on_wire(size: int, function):
    def on_rank(ranks):
        wire = Wire(ranks)
        return function(ranks, wire), wire

    return run_ranks(size, on_rank)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_rank_gathers_all_objects(size):
    for found, _ in on_wire(
        size, lambda ranks, wire: objects.gather(thing(ranks.rank), ranks.rank, size, wire.all_gather)
    ):
        for rank, one in enumerate(found):
            assert_equal(one, rank)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_object_of_rank_0_reaches_every_rank(size):
    def broadcast(ranks, wire):
        return objects.broadcast(thing(9 if ranks.is_root else 2), ranks.is_root, wire.from_root)

    for found, _ in on_wire(size, broadcast):
        assert_equal(found, 9)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_rank_0_alone_receives_what_the_others_send(size):
    def to_root(ranks, wire):
        return objects.to_root(thing(ranks.rank), ranks.rank, size, wire.all_gather, wire.exchange)

    (found, at_root), *others = on_wire(size, to_root)
    for rank, one in enumerate(found):
        assert_equal(one, rank)
    sent = sum(objects.Packed(thing(rank)).size for rank in range(1, size))
    assert sent <= at_root.received <= sent + 8 * size + objects.Packed(None).size
    assert [(found, wire.received) for found, wire in others] == [(None, 8 * size)] * (size - 1)  # the sizes alone


@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_rank_receives_its_own_object_alone(size):
    def scatter(ranks, wire):
        values = [thing(rank) for rank in range(size)] if ranks.is_root else None
        return objects.scatter(values, ranks.rank, size, wire.from_root, wire.exchange)

    for rank, (found, wire) in enumerate(on_wire(size, scatter)):
        assert_equal(found, rank)
        own = objects.Packed(thing(rank) if rank else None).size
        assert wire.received == own + 8 * size


@pytest.mark.parametrize("size", [1, 2])
def test_an_object_goes_in_as_few_messages_as_fit(size):
    array = np.zeros(10 * LIMIT, np.uint8)
    for _, wire in on_wire(size, lambda ranks, wire: objects.gather(array, ranks.rank, size, wire.all_gather)):
        assert wire.messages == 1 + -(-objects.Packed(array).size // (LIMIT // size))


def test_packing_copies_no_array():
    array = np.arange(1000.0)
    packed = objects.Packed({"array": array})
    array[:] = 7
    content = packed.read(0, packed.size)
    np.testing.assert_array_equal(objects.unpacked(content)["array"], array)
