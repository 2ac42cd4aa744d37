"""Examples in files that may be larger than memory: .npy files, memory-mapped, and HDF5; read when they are asked for.

The page cache keeps what was read of a memory-mapped file, once for all ranks of a node. A process counts the pages
that it has read as its own memory, until it lets go of them.
"""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.data import formats
from bnn_hvd.errors import UserError

MAPPED_BYTES = 1 << 28  # of pages that a process holds before it lets go of them
FAULT_BYTES = 1 << 16  # that the kernel maps around an example
CACHE_BYTES = 1 << 26  # of the chunks of each HDF5 data set that were read last
BLOCK_BYTES = 1 << 24  # that `blocks` reads at once


class StoredArray:
    """An array [N, ...] in files. x[i:j] and x[index] read those examples, in the type and shape of `x`.

    parts: arrays or HDF5 data sets of equal shapes but for the first axis, one after another. rows: the examples that
    this array has, in their order, of those of the parts; None: all.
    """

    def __init__(
        self, parts: Sequence[Any], shape: tuple[int, ...] = (), dtype: Any = None, rows: np.ndarray | None = None
    ):
        self.parts, self.rows, self.held_bytes = tuple(parts), rows, 0
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.dtype = np.dtype(dtype if dtype is not None else parts[0].dtype)
        self.shape = (int(self.starts[-1]) if rows is None else len(rows), *(shape or parts[0].shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def example_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    def seen_as(self, shape: tuple[int, ...], dtype: Any) -> "StoredArray":
        """Return the same examples in another shape (of one) and type."""
        return StoredArray(self.parts, shape, dtype, self.rows)

    def subset(self, rows: np.ndarray) -> "StoredArray":
        """Return these examples alone."""
        chosen = rows if self.rows is None else self.rows[rows]
        return StoredArray(self.parts, self.shape[1:], self.dtype, chosen)

    def __getitem__(self, at: slice | np.ndarray) -> np.ndarray:
        if isinstance(at, slice):
            first, last, step = at.indices(len(self))
            if self.rows is None and step == 1:
                return self._range(first, last)
            at = np.arange(first, last, step)
        self._hold(np.size(at))
        index = np.asarray(at) if self.rows is None else self.rows[at]
        found = np.empty([index.size, *self.shape[1:]], self.dtype)
        flat = index.reshape(-1)
        for start, end, part in zip(self.starts[:-1], self.starts[1:], self.parts, strict=True):
            mine = (start <= flat) & (flat < end)
            if mine.all():
                found[:] = self._converted(_take(part, flat - start))
            elif mine.any():
                found[mine] = self._converted(_take(part, flat[mine] - start))
        return found.reshape(*index.shape, *self.shape[1:])

    def _range(self, first: int, last: int) -> np.ndarray:
        """Return the examples from `first` to before `last`."""
        self._hold(last - first)
        found = [
            self._converted(part[max(first - start, 0) : max(min(last, end) - start, 0)])
            for start, end, part in zip(self.starts[:-1], self.starts[1:], self.parts, strict=True)
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _hold(self, num_examples: int) -> None:
        """Let go of the pages of earlier examples, if they and these would be too many."""
        self.held_bytes += num_examples * max(self.example_bytes, FAULT_BYTES)
        if self.held_bytes > MAPPED_BYTES:
            self.held_bytes = 0
            for part in self.parts:
                if isinstance(part, np.memmap):
                    part._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined] # numpy does not declare it

    def _converted(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values, self.dtype).reshape(len(values), *self.shape[1:])

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all examples in their order, some at a time."""
        step = max(1, BLOCK_BYTES // max(self.example_bytes, 1))
        for start in range(0, len(self), step):
            yield self[start : start + step]


Inputs = np.ndarray | StoredArray


def chosen(x: Inputs, rows: np.ndarray) -> Inputs:
    """Return some rows [n] of x: those of a mask, or of indices."""
    index = np.flatnonzero(rows) if rows.dtype == bool else rows
    return x.subset(index) if isinstance(x, StoredArray) else x[rows]


def flat_rows(x: Inputs, columns: int, first: int, last: int) -> np.ndarray:
    """Return rows `first` to before `last` of x, reshaped to [-1, columns], reading no more than these."""
    if isinstance(x, np.ndarray):
        return x.reshape(-1, columns)[first:last]
    per_example = int(np.prod(x.shape[1:])) // columns
    start = first // per_example
    values = x[start : -(-last // per_example)].reshape(-1, columns)
    return values[first - start * per_example : last - start * per_example]


def _take(part: Any, index: np.ndarray) -> np.ndarray:
    """Return these examples of an array, or of an HDF5 data set, whose chunks are each read once."""
    if isinstance(part, np.ndarray):
        return np.take(part, index, axis=0)
    rows = part.chunks[0] if part.chunks else 1
    found = np.empty([len(index), *part.shape[1:]], part.dtype)
    chunk_of = index // rows
    for chunk in np.unique(chunk_of):
        mine = chunk_of == chunk
        found[mine] = part[chunk * rows : (chunk + 1) * rows][index[mine] - chunk * rows]
    return found


def open_folder(folder: Path) -> dict[str, StoredArray]:
    """Return the arrays of a folder of .npy files by name; x_train-0.npy, x_train-1.npy, ... are one array.

    Raises:
      UserError: a file is broken, or those of one array do not fit each other.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for file in sorted(folder.glob("*.npy")):
        with formats.reading(file):
            part = np.load(file, mmap_mode="r", allow_pickle=False)
        parts.setdefault(file.stem.rsplit("-", 1)[0], []).append(part)
    for name, arrays in parts.items():
        kinds = {(array.dtype, array.shape[1:]) for array in arrays}
        if len(kinds) > 1 or not arrays[0].ndim:
            raise UserError(f"{folder}: the files of {name} have different types or shapes: make them the same")
    return {name: StoredArray(arrays) for name, arrays in parts.items()}


def open_hdf5(file: Path) -> dict[str, StoredArray]:
    """Return the arrays of an HDF5 file by name. What is stored in one piece is memory-mapped.

    Raises:
      UserError: the file is broken.
    """
    import h5py

    with formats.reading(file):
        opened = h5py.File(file, "r", rdcc_nbytes=CACHE_BYTES)
        sets = {name: part for name, part in opened.items() if isinstance(part, h5py.Dataset) and part.ndim}
        return {name: StoredArray([_mapped(file, part)]) for name, part in sets.items()}


def _mapped(file: Path, part: Any) -> Any:
    """Return a data set of numbers as a memory map if it is one piece of the file, else itself."""
    offset = part.id.get_offset()  # None if it is in chunks, or empty
    if offset is None or part.dtype.kind not in "biuf":
        return part
    return np.memmap(file, part.dtype, "r", offset, part.shape)
