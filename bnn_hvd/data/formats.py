"""One reader per file format: file -> numpy arrays. Any broken file raises UserError."""

import contextlib
import gzip
import io
import math
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from bnn_hvd.errors import UserError

KEYS = ("x_train", "y_train", "x_test", "y_test")

GZIP_MAGIC = b"\x1f\x8b"
IDX_UINT8 = 8  # the only element type that MNIST and its relatives use
CIFAR_IMAGE = (3, 32, 32)  # channels first, in both of CIFAR's own formats
AS_FILES = (
    "save it as a folder of .npy files or as HDF5, whose inputs are read when they are needed (--dataset=npy, "
    "--dataset=hdf5)"
)


def broken(path: Path, why: object) -> UserError:
    return UserError(f"{path} can't be read, it may be truncated or corrupt ({why}): download or copy it again")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any error while `path` is read into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{path} does not fit into memory: {AS_FILES}") from None
    except PermissionError:
        raise UserError(f"{path} can't be read: permission denied; make it readable") from None
    except Exception as error:  # noqa: BLE001 - a corrupt zip, gzip or pickle can raise nearly anything
        raise broken(path, f"{type(error).__name__}: {error}") from None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the four arrays of a keras-style .npz file, each read once.

    Raises:
      UserError: as `read_some`, or an array is missing.
    """
    found, others = read_some(path, KEYS)
    if missing := [key for key in KEYS if key not in found]:
        has = ", ".join([*found, *others]) or "nothing"
        raise UserError(f"{path} has no {', '.join(missing)}: it must hold {', '.join(KEYS)}, but has {has}")
    return found


def read_some(path: Path, wanted: Collection[str] = ()) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return those of the `wanted` arrays that an .npz file has (all without `wanted`), and the names of the others.

    Raises:
      UserError: the file is no .npz, is truncated or corrupt, or holds Python objects.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the .npz file in it")
    with opened_npz(path) as archive:
        found = {key: _member(archive, key, path) for key in archive.files if not wanted or key in wanted}
        return found, [key for key in archive.files if key not in found]


@contextlib.contextmanager
def opened_npz(path: Path) -> Iterator[Any]:
    """Yield the arrays of an .npz file; each is read when it is looked up.

    Raises:
      UserError: the file is no .npz, is truncated or corrupt, or would not fit into the memory of this host.
    """
    with reading(path), path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise UserError(
                f"{path} is no .npz file, or is truncated: give a complete .npz file, or the folder of the unpacked "
                "files if the data set has several"
            )
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())  # no more than that is ever unpacked
        if unpacked > memory_bytes():
            raise UserError(
                f"{path} holds {1e-9 * unpacked:.3g} GB of arrays, and this host has {1e-9 * memory_bytes():.3g} GB of "
                f"memory: {AS_FILES}"
            )
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays


def memory_bytes() -> int:
    """Return the memory of this host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _member(archive: Any, key: str, path: Path) -> np.ndarray:
    try:
        array = archive[key]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise UserError(
            f"{path}: {key} holds Python objects, which are not read because unpickling them could run "
            "code: save it as one array of uint8 or float32"
        ) from None
    if not isinstance(array, np.ndarray):  # numpy returns a member that is no .npy file as bytes
        raise broken(path, f"{key} is no array")
    return array


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Return the uint8 array of `ndim` axes in an idx file (http://yann.lecun.com/exdb/mnist), gzipped or not."""
    with reading(path):
        packed = path.read_bytes()
        stream = gzip.GzipFile(fileobj=io.BytesIO(packed)) if packed.startswith(GZIP_MAGIC) else io.BytesIO(packed)
        start = 4 * (1 + ndim)
        head = stream.read(start)
        if len(head) < start:
            raise broken(path, f"only {len(head)} bytes")
        magic, *shape = struct.unpack(f">{1 + ndim}I", head)
        if magic != IDX_UINT8 << 8 | ndim:
            raise broken(path, f"magic number {magic:#010x} instead of {IDX_UINT8 << 8 | ndim:#010x}")
        announced = math.prod(shape)
        content = stream.read(min(announced, memory_bytes()) + 1)  # a small file may unpack to a huge one
        if len(content) != announced:
            more = "more than " * (len(content) > announced)
            raise broken(path, f"{more}{min(len(content), announced)} bytes of data where its header says {announced}")
        return np.frombuffer(content, np.uint8).reshape(shape)


def read_cifar_pickle(path: Path, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (images uint8 [N, 32, 32, 3], labels [N]) of a python batch of CIFAR; runs no code from it."""
    with reading(path), path.open("rb") as file:
        batch = {_text(key): value for key, value in ArrayUnpickler(file, path).load().items()}
        pixels, labels = np.asarray(_array(batch["data"])), np.asarray(_array(batch[label_key]))
        if pixels.dtype != np.uint8:
            raise broken(path, "its data is no array of uint8")
        if pixels.shape != (len(labels), math.prod(CIFAR_IMAGE)):
            raise broken(path, f"data of shape {pixels.shape} with {len(labels)} labels")
        return _channels_last(pixels), labels


def read_cifar_binary(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (images uint8 [N, 32, 32, 3], labels [N]) of a binary batch: records of labels, then pixels.

    The last label byte is the label: in CIFAR-100, the coarse label is before it.
    """
    with reading(path):
        content = np.frombuffer(path.read_bytes(), np.uint8)
        record = label_bytes + math.prod(CIFAR_IMAGE)
        if len(content) == 0 or len(content) % record:
            raise broken(path, f"{len(content)} bytes are no whole number of records of {record}")
        records = content.reshape(-1, record)
        return _channels_last(records[:, label_bytes:]), records[:, label_bytes - 1]


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    """[N, 3072] -> a view of [N, 32, 32, 3]."""
    return pixels.reshape(-1, *CIFAR_IMAGE).transpose(0, 2, 3, 1)


def _array(value: Any) -> Any:
    return value.array if isinstance(value, PickledArray) else value


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


class PickledType:
    """Replaces numpy.dtype during unpickling: a number type, from its code and its byte order."""

    def __init__(self, code: str | bytes, *flags: object):
        self.code, self.byte_order = _text(code), "="

    def __setstate__(self, state: tuple) -> None:
        self.byte_order = _text(state[1])

    def dtype(self) -> np.dtype:
        if not re.fullmatch("[biuf][1248]", self.code):
            raise pickle.UnpicklingError(f"an array of type {self.code!r}")
        return np.dtype(self.byte_order + self.code)


class PickledArray:
    """Replaces numpy.ndarray during unpickling.

    numpy's own unpickling does not check its input, and a corrupt file can crash the process.
    """

    def __init__(self, *placeholder: object):
        self.array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _version, shape, kind, fortran_order, content = state
        self.array = _from_buffer(content, kind, shape, "F" if fortran_order else "C")


def _from_buffer(content: bytes, kind: PickledType, shape: tuple[int, ...], order: Any) -> np.ndarray:
    return np.frombuffer(content, kind.dtype()).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    """Replace `_codecs.encode`, with which Python 3 writes bytes into old pickles."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """Reads number arrays, bytes, str, numbers, lists and dicts. Other types could run code and raise UserError."""

    stand_ins: ClassVar = {
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): PickledType,
        ("multiarray", "_reconstruct"): PickledArray,
        ("numeric", "_frombuffer"): _from_buffer,  # pickle protocol 5
        ("_codecs", "encode"): _encode,
    }

    def __init__(self, file: BinaryIO, path: Path):
        super().__init__(file, encoding="bytes")  # CIFAR's batches were written by Python 2
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        key = (re.sub(r"^numpy\._?core\.", "", module), name)  # numpy.core before numpy 2, then numpy._core
        if key not in self.stand_ins:
            raise UserError(
                f"{self.path} asks for {module}.{name}, which a file of arrays does not need and which could run "
                "code, so it was not read: download the data set from its own site"
            )
        return self.stand_ins[key]
