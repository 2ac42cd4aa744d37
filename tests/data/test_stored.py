"""Examples in files are read as those in memory, bit for bit."""

import itertools
import mmap

import h5py
import numpy as np
import pytest

from bnn_hvd.config import resolve
from bnn_hvd.data import fingerprint, new_data, pipeline, sources, standardize, stored
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.errors import UserError
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.training import plan as plan_module
from bnn_hvd.training.plan import Plan

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 255, [500, 6, 5], dtype=np.uint8)
Y = np.arange(500) % 4
PARTS = {"x_train": X[:400], "y_train": Y[:400], "x_test": X[400:], "y_test": Y[400:]}
STORED = ("npy", "npy in parts", "hdf5", "hdf5 in chunks")


def write(folder, kind: str, parts: dict[str, np.ndarray]) -> tuple[str, str]:
    """Return the data set and the path of these parts."""
    if kind == "npz":
        np.savez(folder / "data.npz", **parts)
        return "npz", str(folder / "data.npz")
    if kind.startswith("hdf5"):
        with h5py.File(folder / "data.h5", "w") as file:
            for name, part in parts.items():
                chunks = {"chunks": (37, *part.shape[1:]), "compression": "gzip"} if kind == "hdf5 in chunks" else {}
                file.create_dataset(name, data=part, **chunks)
        return "hdf5", str(folder / "data.h5")
    (folder / "data").mkdir()
    for name, part in parts.items():
        pieces = np.array_split(part, [150, 151]) if kind == "npy in parts" else [part]
        for number, piece in enumerate(pieces):
            np.save(folder / "data" / (f"{name}-{number}" if len(pieces) > 1 else name), piece)
    return "npy", str(folder / "data")


@pytest.mark.parametrize("kind", STORED)
def test_examples_are_those_in_memory(tmp_path, kind):
    here = sources.load(*write(tmp_path, "npz", PARTS))
    there = sources.load(*write(tmp_path, kind, PARTS))
    assert isinstance(there.x_train, stored.StoredArray)
    index = RANDOM.integers(0, 400, [7, 9])
    for at in (slice(3, 201), slice(140, 160), slice(0, 400, 7), slice(9, 9), index, index[0], np.array([], int)):
        np.testing.assert_array_equal(there.x_train[at], here.x_train[at])
    np.testing.assert_array_equal(there.x_train.subset(index[0])[2:5], here.x_train[index[0]][2:5])
    np.testing.assert_array_equal(there.y_test, here.y_test)
    assert (there.x_train.shape, there.x_train.dtype) == (here.x_train.shape, here.x_train.dtype)
    assert Fingerprint.of(there) == Fingerprint.of(here)


@pytest.mark.parametrize("how", ["channel", "pixel", "unit", "none"])
def test_the_standardisation_is_that_in_memory(tmp_path, monkeypatch, how):
    monkeypatch.setattr(standardize, "CHUNK_VALUES", 333)  # chunks end within examples
    monkeypatch.setattr(stored, "BLOCK_BYTES", 777)
    parts = PARTS | {"x_train": (X[:400] / 7.0 - 20).astype(np.float32), "x_test": X[400:].astype(np.float32)}
    here, there = (sources.load(*write(tmp_path, kind, parts)) for kind in ("npz", "hdf5 in chunks"))
    of = [standardize.fit(arrays.x_train, how).to_dict() for arrays in (here, there)]
    assert of[0] == of[1]


def test_the_fingerprint_of_large_data_is_that_in_memory(tmp_path, monkeypatch):
    here, there = (sources.load(*write(tmp_path, kind, PARTS)) for kind in ("npz", "npy in parts"))
    monkeypatch.setattr(fingerprint, "BLOCK_BYTES", 100)
    monkeypatch.setattr(fingerprint, "MOST_BLOCKS", 9)
    assert Fingerprint.of(there) == Fingerprint.of(here)


def test_without_a_test_part_the_same_examples_are_held_out(tmp_path):
    parts = {"x": X, "y": Y}
    here, there = (sources.load(*write(tmp_path, kind, parts)) for kind in ("npz", "hdf5"))
    np.testing.assert_array_equal(there.x_test[:], here.x_test)
    np.testing.assert_array_equal(there.x_train[10:90], here.x_train[10:90])


@pytest.mark.parametrize("kind", ["npy", "hdf5 in chunks"])
def test_data_to_predict_may_be_in_files(tmp_path, kind):
    arrays = sources.load(*write(tmp_path, "npz", PARTS))
    known = Description.of(arrays, arrays.target(), standardize.fit(arrays.x_train, "none"))
    found = new_data.read(resolve(dataset="npz", data_dir="a"), known, write(tmp_path, kind, {"x": X})[1])
    np.testing.assert_array_equal(found.x_test[:], X[..., None])
    assert set(found.y_test) == {-1}


def test_reading_ahead_is_a_guess_that_changes_nothing(tmp_path):
    """Whatever was announced: all of it, less, more, something else, or nothing."""
    x = sources.load(*write(tmp_path, "npy", PARTS)).x_train
    reader, indices = pipeline.ReadAhead(x), [RANDOM.integers(0, 400, [steps, 3]) for steps in (1, 4, 4, 2, 5, 3)]
    guesses = [indices[1], indices[2][:2], np.concatenate([indices[3]] * 2), indices[1], indices[4][:0], indices[0]]
    for index, guess in zip(indices, guesses, strict=True):
        np.testing.assert_array_equal(reader.read(index, guess), x[index])


def test_pages_are_let_go(tmp_path, monkeypatch):
    """Else a rank would count the whole file as its own memory, in time."""
    x, released = sources.load(*write(tmp_path, "npy", PARTS)).x_train, []
    monkeypatch.setattr(stored, "MAPPED_BYTES", 10 * stored.FAULT_BYTES)

    class Watched(np.memmap):
        @property
        def _mmap(self):
            return type("", (), {"madvise": lambda _, advice: released.append(advice)})()

        @_mmap.setter
        def _mmap(self, value):
            pass

    x.parts = tuple(part.view(Watched) for part in x.parts)
    for _ in range(4):
        x[np.arange(6)]
    assert released == [mmap.MADV_DONTNEED] * 2


def test_what_is_ahead_of_a_call_is_the_next_call():
    """Within an epoch, and of the next epoch; nothing is ahead of the last call."""
    config = resolve(batch_size=16, epochs=2, log_every_steps=100)
    plan, progress, calls = Plan(config, 100, 1, 2), Progress(), []
    while not plan.finished(progress):
        calls.append(plan.next_call(progress, 2))
        progress = plan.advance(progress, calls[-1].steps)
    for call, following in itertools.pairwise(calls):
        steps = min(call.steps, following.steps)
        np.testing.assert_array_equal(call.ahead[:steps], following.examples[:steps])
    assert calls[-1].ahead is plan_module.NOTHING_AHEAD
    whole = Plan(config, 100, 1, 2).next_call(Progress(), 3)
    parts = [whole.part(first, 2) for first in (0, 2)]
    np.testing.assert_array_equal(np.concatenate([part.seeds_T2 for part in parts]), whole.seeds_T2)
    np.testing.assert_array_equal(parts[0].ahead, parts[1].examples)
    assert parts[1].ahead is whole.ahead


@pytest.mark.parametrize(
    ("kind", "broken", "says"),
    [
        ("npy", b"no numbers", "can't be read"),
        ("hdf5", b"no HDF5", "can't be read"),
    ],
)
def test_a_broken_file_is_named(tmp_path, kind, broken, says):
    dataset, path = write(tmp_path, kind, PARTS)
    file = tmp_path / "data" / "x_train.npy" if kind == "npy" else tmp_path / "data.h5"
    file.write_bytes(broken)
    with pytest.raises(UserError, match=f"{file} {says}"):
        sources.load(dataset, path)


def test_what_is_missing_is_named(tmp_path):
    dataset, path = write(tmp_path, "npy", {"x_train": X, "images": X})
    with pytest.raises(UserError, match=r"has no y_train: it must hold .* but has x_train, images"):
        sources.load(dataset, path)
    (tmp_path / "b").mkdir()
    dataset, path = write(tmp_path / "b", "npy", {"x-0": X, "x-1": X[:, 1:], "y": Y})
    with pytest.raises(UserError, match="the files of x have different types or shapes"):
        sources.load(dataset, path)
