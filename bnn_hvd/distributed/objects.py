"""Objects of any size between ranks. Arrays go as they are in memory, and everything goes in pieces.

MPI counts in int32, so no message may have 2^31 bytes. An object is packed into one sequence of bytes: a pickle, and
beside it the memory of its arrays (pickle protocol 5, out-of-band buffers), which is copied piece by piece into the
messages, and never as a whole. Whoever receives it has the bytes in one buffer, and its arrays are views of that.
"""

import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

MOST_BYTES = 1 << 24  # of a message, all ranks together: measured (docs/log.md)
ALIGNED = 64  # bytes: each array begins at a multiple of it


class Packed:
    """An object as a sequence of `size` bytes.

    Its parts begin at multiples of ALIGNED: the ends of the others (int64, as many as there are parts, their number
    first), the pickle, the buffers.
    """

    def __init__(self, value: Any):
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        memories = [memoryview(head), *(buffer.raw() for buffer in buffers)]
        parts = [np.frombuffer(memory, np.uint8) for memory in memories]
        sizes = np.array([len(parts), *map(len, parts)], np.int64)
        self._parts = [sizes.view(np.uint8), *parts]
        self._starts = _starts([len(part) for part in self._parts])
        self.size = self._starts[-1]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the bytes [start, stop), uint8; fewer at the end."""
        piece = np.zeros(max(0, min(stop, self.size) - start), np.uint8)
        for at, part in zip(self._starts, self._parts, strict=False):
            first, last = max(start, at), min(stop, at + len(part))
            if first < last:
                piece[first - start : last - start] = part[first - at : last - at]
        return piece


def unpacked(content: np.ndarray) -> Any:
    """Return the object whose bytes these are; its arrays are views of them."""
    count = int(content[:8].view(np.int64)[0])
    sizes = content[: 8 * (count + 1)].view(np.int64)[1:].tolist()
    starts = _starts([8 * (count + 1), *sizes])[1:]
    head, *buffers = (content[start : start + size] for start, size in zip(starts, sizes, strict=False))
    return pickle.loads(head.data, buffers=buffers)


def _starts(sizes: Sequence[int]) -> list[int]:
    """Return where parts of these sizes begin, each aligned, and where the last one ends."""
    return [0, *itertools.accumulate(-(-size // ALIGNED) * ALIGNED for size in sizes)]


def pieces(sizes: Sequence[int], ranks: int) -> Iterator[tuple[int, int]]:
    """Return the ranges of bytes, one per message, of objects with these sizes, of which `ranks` are sent at once."""
    step = max(1, MOST_BYTES // ranks)
    return ((start, start + step) for start in range(0, max(sizes), step))


def gather(value: Any, rank: int, size: int, all_gather: Callable[[np.ndarray], np.ndarray]) -> list[Any]:
    """Return the object of each of `size` ranks.

    all_gather: concatenates arrays [n] of all ranks, in order of rank.
    """
    packed = Packed(value)
    sizes = all_gather(np.array([packed.size], np.int64)).tolist()
    received = [np.empty(0 if other == rank else total, np.uint8) for other, total in enumerate(sizes)]
    for start, stop in pieces(sizes, size):
        _store(all_gather(packed.read(start, stop)), received, sizes, start, stop)
    return [value if other == rank else unpacked(content) for other, content in enumerate(received)]


def _store(message: np.ndarray, received: list[np.ndarray], sizes: list[int], start: int, stop: int) -> None:
    """Write the bytes [start, stop) of each rank's object, one after the other in a message, to where they belong.

    received: an object of no bytes is not wanted.
    """
    at = 0
    for content, total in zip(received, sizes, strict=True):
        count = max(0, min(stop, total) - start)
        if len(content):
            content[start : start + count] = message[at : at + count]
        at += count


def broadcast(value: Any, is_root: bool, from_root: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Return the object of the root.

    from_root: returns the array [n] of the root; that of the other ranks has the same type and shape.
    """
    packed = Packed(value) if is_root else None
    total = int(from_root(np.array([packed.size if packed else 0], np.int64))[0])
    received = np.empty(0 if packed else total, np.uint8)
    for start, stop in pieces([total], 1):
        count = min(stop, total) - start
        message = from_root(packed.read(start, stop) if packed else np.zeros(count, np.uint8))
        if not packed:
            received[start : start + count] = message
    return value if packed else unpacked(received)


def to_root(
    value: Any, rank: int, size: int, all_gather: Callable[[np.ndarray], np.ndarray],
    exchange: Callable[[np.ndarray, list[int]], np.ndarray],
) -> list[Any] | None:  # fmt: skip
    """Return the object of each of `size` ranks on rank 0, and None on the others.

    exchange: sends the first n0 numbers of an array [n] to rank 0, the next n1 to rank 1, ...; returns those that this
      rank receives, in order of the rank that sent them.
    """
    packed = Packed(None if rank == 0 else value)
    sizes = all_gather(np.array([packed.size], np.int64)).tolist()
    received = [np.empty(0 if rank else total, np.uint8) for total in sizes]
    for start, stop in pieces(sizes, size):
        piece = packed.read(start, stop)
        _store(exchange(piece, [len(piece)] + [0] * (size - 1)), received, sizes, start, stop)
    return None if rank else [value, *map(unpacked, received[1:])]


def scatter(
    values: Sequence[Any] | None, rank: int, size: int, from_root: Callable[[np.ndarray], np.ndarray],
    exchange: Callable[[np.ndarray, list[int]], np.ndarray],
) -> Any:  # fmt: skip
    """Return the object that rank 0 has for this rank.

    values: those for the ranks, on rank 0.
    """
    packed = [Packed(None), *map(Packed, values[1:])] if values is not None else []
    sizes = from_root(np.array([one.size for one in packed] or [0] * size, np.int64)).tolist()
    received = np.empty(sizes[rank], np.uint8)
    for start, stop in pieces(sizes, size):
        each = [one.read(start, stop) for one in packed] or [np.zeros(0, np.uint8)] * size
        message = exchange(np.concatenate(each), list(map(len, each)))
        received[start : start + len(message)] = message
    return values[0] if values is not None else unpacked(received)
