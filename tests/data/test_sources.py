"""Every format is read back bit for bit from real files, and every broken file gives one clear UserError."""

import gzip
import io
import os
import pickle
import re
import struct
import zipfile
from typing import ClassVar

import numpy as np
import pytest

from bnn_hvd import registry
from bnn_hvd.data import formats, sources
from bnn_hvd.errors import UserError

RANDOM = np.random.default_rng(0)
MNIST = {
    "x_train": RANDOM.integers(0, 256, (12, 28, 28), dtype=np.uint8), "y_train": np.arange(12, dtype=np.uint8) % 10,
    "x_test": RANDOM.integers(0, 256, (5, 28, 28), dtype=np.uint8), "y_test": np.arange(5, dtype=np.uint8),
}  # fmt: skip
CIFAR = {
    "x_train": RANDOM.integers(0, 256, (15, 32, 32, 3), dtype=np.uint8), "y_train": np.arange(15, dtype=np.uint8) % 10,
    "x_test": RANDOM.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8), "y_test": np.arange(4, dtype=np.uint8) + 6,
}  # fmt: skip
IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte", "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte", "y_test": "t10k-labels-idx1-ubyte",
}  # fmt: skip
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


# Writers of each format


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, mark="-", suffix=""):
    for key, name in IDX_NAMES.items():
        content = idx_bytes(MNIST[key])
        path = folder / (name.replace("-idx", f"{mark}idx") + suffix)
        path.write_bytes(gzip.compress(content) if suffix else content)


def write_npz(path, parts=MNIST, **changes):
    np.savez(path, **{key: value for key, value in {**parts, **changes}.items() if value is not None})
    return path


def cifar_parts():
    """Yield (file name, rows uint8 [n, 3072] in channel, row, column order, labels) of each batch."""
    for i, name in enumerate(BATCHES):
        x = CIFAR["x_test"] if name == "test_batch" else CIFAR["x_train"][3 * i : 3 * i + 3]
        y = CIFAR["y_test"] if name == "test_batch" else CIFAR["y_train"][3 * i : 3 * i + 3]
        yield name, np.ascontiguousarray(x.transpose(0, 3, 1, 2)).reshape(len(x), 3072), y.tolist()


class Python2Pickler(pickle._Pickler):
    """A pickler that writes every string as Python 2's str, as in the real batches."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_str(self, text):
        text = text.encode() if isinstance(text, str) else text
        short = len(text) < 256
        self.write((b"U" + bytes([len(text)]) if short else b"T" + struct.pack("<i", len(text))) + text)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_str


def python2_pickle(value):
    buffer = io.BytesIO()
    Python2Pickler(buffer, 2).dump(value)
    return buffer.getvalue().replace(b"numpy._core", b"numpy.core")


def write_cifar_pickles(folder, dump=python2_pickle):
    for name, rows, labels in cifar_parts():
        batch = {b"batch_label": b"a batch", b"labels": labels, b"data": rows, b"filenames": [b"a.png"] * len(rows)}
        (folder / name).write_bytes(dump(batch))


def write_cifar_binaries(folder):
    for name, rows, labels in cifar_parts():
        records = np.concatenate([np.array(labels, np.uint8)[:, np.newaxis], rows], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def assert_equal(arrays, parts):
    """Assert that what was read is what was written, bit for bit."""
    for part in ("train", "test"):
        x, y = getattr(arrays, f"x_{part}"), getattr(arrays, f"y_{part}")
        assert (x.dtype, y.dtype) == (np.uint8, np.int32)
        assert x.flags.c_contiguous
        np.testing.assert_array_equal(x, parts[f"x_{part}"].reshape(x.shape))
        np.testing.assert_array_equal(y, parts[f"y_{part}"])


def message(dataset, path):
    """Return the message of the UserError that reading `path` must raise."""
    with pytest.raises(UserError) as caught:
        sources.load(dataset, str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# MNIST


@pytest.mark.parametrize(
    ("mark", "suffix", "first"),
    [("-", "", "t10k-images-idx3-ubyte"), ("-", ".gz", "t10k-images-idx3-ubyte.gz"),
     (".", "", "t10k-images.idx3-ubyte"), (".", ".gz", "t10k-images.idx3-ubyte.gz")],
)  # fmt: skip
def test_mnist_from_idx_files(tmp_path, mark, suffix, first):
    write_idx(tmp_path, mark, suffix)
    assert min(os.listdir(tmp_path)) == first
    arrays = sources.load("mnist", str(tmp_path))
    assert arrays.x_train.shape == (12, 28, 28, 1)
    assert_equal(arrays, MNIST)


def test_mnist_from_npz_and_from_a_folder_with_it(tmp_path):
    file = write_npz(tmp_path / "mnist.npz")
    for path in (file, tmp_path):
        arrays = sources.load("MNIST", str(path))
        assert arrays.x_train.shape == (12, 28, 28, 1)
        assert (arrays.num_classes, arrays.class_names) == (10, tuple("0123456789"))
        assert_equal(arrays, MNIST)


def test_real_mnist(shared_data):
    arrays = sources.load("mnist", str(shared_data / "mnist.npz"))
    assert arrays.x_train.shape == (60_000, 28, 28, 1)
    assert arrays.x_test.shape == (10_000, 28, 28, 1)
    assert arrays.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # the original order
    assert np.bincount(arrays.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert round(arrays.x_train.mean(dtype=np.float64) / 255, 4) == 0.1307
    assert round(arrays.x_train.std(dtype=np.float64) / 255, 4) == 0.3082


def test_real_cifar10(shared_data):
    if not (shared_data / "cifar10_small.npz").is_file():
        pytest.skip(f"no {shared_data}/cifar10_small.npz")
    arrays = sources.load("cifar10", str(shared_data / "cifar10_small.npz"))
    assert (arrays.x_train.shape, arrays.x_test.shape) == ((10_000, 32, 32, 3), (2_000, 32, 32, 3))
    assert arrays.class_names[3] == "cat"


# CIFAR-10


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
def test_cifar10_from_python_2_batches(tmp_path, inside):
    (tmp_path / inside).mkdir(exist_ok=True)
    write_cifar_pickles(tmp_path / inside)
    arrays = sources.load("cifar10", str(tmp_path))
    assert_equal(arrays, CIFAR)
    assert (arrays.num_classes, arrays.class_names[0], arrays.class_names[9]) == (10, "airplane", "truck")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_cifar10_from_batches_of_each_pickle_protocol(tmp_path, protocol):
    write_cifar_pickles(tmp_path, lambda batch: pickle.dumps(batch, protocol))
    assert_equal(sources.load("cifar10", str(tmp_path)), CIFAR)


def test_cifar10_from_batches_with_str_keys_and_array_labels(tmp_path):
    def dump(batch):
        return pickle.dumps({"data": np.asfortranarray(batch[b"data"]), "labels": np.array(batch[b"labels"])})

    write_cifar_pickles(tmp_path, dump)
    assert_equal(sources.load("cifar10", str(tmp_path)), CIFAR)


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_cifar10_from_binary_batches(tmp_path, inside):
    (tmp_path / inside).mkdir(exist_ok=True)
    write_cifar_binaries(tmp_path / inside)
    assert_equal(sources.load("cifar10", str(tmp_path)), CIFAR)


def test_cifar10_from_npz_with_labels_in_a_column(tmp_path):
    columns = {key: CIFAR[key][:, np.newaxis] for key in ("y_train", "y_test")}
    file = write_npz(tmp_path / "cifar10.npz", CIFAR, **columns)
    for path in (file, tmp_path):
        assert_equal(sources.load("cifar10", str(path)), CIFAR)


def test_a_row_is_channels_then_rows_then_columns(tmp_path):
    """The record is made without the writer above: its byte 1 + 1024 c + 32 h + w is pixel (h, w, c)."""
    record = bytearray(3073)
    record[0], record[1 + 1024 * 2 + 32 * 5 + 7] = 9, 200
    (tmp_path / "one.bin").write_bytes(record)
    x, y = formats.read_cifar_binary(tmp_path / "one.bin", label_bytes=1)
    assert y.tolist() == [9]
    assert np.argwhere(x).tolist() == [[0, 5, 7, 2]]


def test_cifar100_is_another_label_key_and_label_byte(tmp_path):
    rows = RANDOM.integers(0, 256, (2, 3072), dtype=np.uint8)
    batch = {b"data": rows, b"coarse_labels": [1, 2], b"fine_labels": [33, 99]}
    (tmp_path / "train").write_bytes(python2_pickle(batch))
    (tmp_path / "train.bin").write_bytes(np.concatenate([np.uint8([[1, 33], [2, 99]]), rows], axis=1).tobytes())
    x, y = formats.read_cifar_pickle(tmp_path / "train", "fine_labels")
    x_binary, y_binary = formats.read_cifar_binary(tmp_path / "train.bin", label_bytes=2)
    assert y.tolist() == y_binary.tolist() == [33, 99]
    np.testing.assert_array_equal(x, x_binary)


# Pickles that would run code


class Touch:
    """An object that creates a file if it is unpickled without restriction."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("where", ["root", "data", "labels", "key", "object array", "state"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, where):
    marker = tmp_path / "ran"
    data = np.zeros((1, 3072), np.uint8)
    batch = {
        "root": Touch(marker),
        "data": {b"data": Touch(marker), b"labels": [0]},
        "labels": {b"data": data, b"labels": [Touch(marker)]},
        "key": {b"data": data, b"labels": [0], (b"x", Touch(marker)): 0},
        "object array": {b"data": np.array([Touch(marker)], object), b"labels": [0]},
        "state": [data.dtype, Touch(marker)],
    }[where]
    write_cifar_pickles(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps(batch))
    text = message("cifar10", tmp_path)
    assert f"{tmp_path}/data_batch_3 asks for " in text
    assert "open" in text
    assert not marker.exists()


def test_the_malicious_pickle_does_run_without_the_restriction(tmp_path):
    pickle.loads(pickle.dumps(Touch(tmp_path / "ran"))).close()
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "posix system", "numpy load", "numpy._core.multiarray scalar", "numpy.core numeric",
             "numpy.core.multiarray.x _reconstruct", "codecs encode"],
)  # fmt: skip
def test_any_other_name_is_refused(tmp_path, name):
    module, attribute = name.split()
    path = tmp_path / "batch"
    path.write_bytes(f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(UserError, match=re.escape(f"{path} asks for {module}.{attribute}")):
        formats.read_cifar_pickle(path, "labels")


def test_corrupt_batches_never_crash(tmp_path):
    """numpy's own unpickling of arrays ends in a segmentation fault on some of these."""
    batch = {b"data": RANDOM.integers(0, 256, (2, 3072), dtype=np.uint8), b"labels": [1, 2]}
    good, path, refused = pickle.dumps(batch, 3), tmp_path / "batch", 0
    for _ in range(2000):
        content = bytearray(good)
        content[RANDOM.integers(250)] = RANDOM.integers(256)
        path.write_bytes(content)
        try:
            formats.read_cifar_pickle(path, "labels")
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017 - most of many files raise, not all
            refused += 1
    assert refused > 1000


# The user's own .npz


@pytest.mark.parametrize("shape", [(7,), (6, 5), (6, 5, 1), (9, 8, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16", "float32", "float64", ">f4", "int64"])
def test_npz_of_any_shape_and_type(tmp_path, shape, dtype):
    x_train, x_test = (RANDOM.integers(0, 2, (n, *shape)).astype(dtype) for n in (9, 4))
    y_train, y_test = np.arange(9) % 3, np.array([0.0, 1.0, 2.0, 3.0])
    file = write_npz(tmp_path / "own.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    arrays = sources.load("npz", str(file))
    assert arrays.x_train.shape == (9, *(shape if len(shape) != 2 else (*shape, 1)))
    assert arrays.x_train.dtype == (np.uint8 if dtype in ("uint8", "bool") else np.float32)
    np.testing.assert_array_equal(arrays.x_train.reshape(x_train.shape), x_train.astype(np.float64))
    np.testing.assert_array_equal(arrays.x_test.reshape(x_test.shape), x_test.astype(np.float64))
    assert (arrays.y_train.dtype, arrays.y_test.dtype) == (np.int32, np.int32)
    assert arrays.y_test.tolist() == [0, 1, 2, 3]
    assert (arrays.num_classes, arrays.class_names) == (4, ("0", "1", "2", "3"))


def test_npz_in_fortran_order_and_compressed(tmp_path):
    np.savez_compressed(tmp_path / "own.npz", **{**MNIST, "x_train": np.asfortranarray(MNIST["x_train"])})
    assert_equal(sources.load("npz", str(tmp_path / "own.npz")), MNIST)


def test_no_array_is_read_twice(tmp_path, monkeypatch):
    file, read = write_npz(tmp_path / "own.npz"), []
    original = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda self, key: read.append(key) or original(self, key))
    sources.load("npz", str(file))
    assert sorted(read) == sorted(formats.KEYS)


def test_home_and_relative_paths(tmp_path, monkeypatch):
    write_npz(tmp_path / "own.npz")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~/own.npz", "own.npz"):
        assert_equal(sources.load("npz", path), MNIST)


# digits


def test_digits_is_scikit_learns_in_its_order():
    from sklearn.datasets import load_digits

    arrays, original = sources.load("digits", ""), load_digits()
    assert (arrays.x_train.shape, arrays.x_test.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert arrays.x_train.dtype == np.uint8
    np.testing.assert_array_equal(np.concatenate([arrays.x_train, arrays.x_test])[..., 0], original.images)
    np.testing.assert_array_equal(np.concatenate([arrays.y_train, arrays.y_test]), original.target)
    assert np.bincount(arrays.y_test).min() >= 30  # each class is tested


def test_digits_refuses_a_path():
    assert "--data_dir=somewhere" in message("digits", "somewhere")


# Missing files


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "npz"])
def test_without_data_dir(dataset):
    text = message(dataset, "")
    assert f"--dataset={dataset} needs --data_dir" in text
    assert ("prepare_data --dataset=" + dataset in text) == (dataset != "npz")


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "npz"])
def test_a_path_that_does_not_exist_is_named_in_full(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = message(dataset, "no/such.npz")
    assert f"{tmp_path}/no/such.npz does not exist" in text
    assert ("prepare_data" in text) == (dataset != "npz")


@pytest.mark.parametrize(
    ("dataset", "names"),
    [("mnist", ["mnist.npz", *IDX_NAMES.values(), ".gz"]), ("cifar10", ["cifar10.npz", *BATCHES, ".bin"])],
)
def test_an_empty_folder_says_which_names_were_looked_for(dataset, names, tmp_path):
    text = message(dataset, tmp_path)
    assert text.startswith(f"{tmp_path} has no ")
    assert all(name in text for name in names)
    assert f"prepare_data --dataset={dataset}" in text


@pytest.mark.parametrize("missing", list(IDX_NAMES.values()))
def test_one_missing_idx_file(tmp_path, missing):
    write_idx(tmp_path)
    (tmp_path / missing).unlink()
    text = message("mnist", tmp_path)
    assert text.startswith(f"{tmp_path} has no {missing} or {missing}.gz or ")
    assert sum(name in text for name in IDX_NAMES.values()) == 1  # files that exist are not named


@pytest.mark.parametrize("missing", ["data_batch_4", "test_batch"])
@pytest.mark.parametrize(("write", "suffix"), [(write_cifar_pickles, ""), (write_cifar_binaries, ".bin")])
def test_one_missing_batch(tmp_path, write, suffix, missing):
    write(tmp_path)
    (tmp_path / f"{missing}{suffix}").unlink()
    assert message("cifar10", tmp_path).startswith(f"{tmp_path} has no {missing}{suffix}: ")


def test_a_folder_is_no_npz(tmp_path):
    assert f"{tmp_path} is a folder" in message("npz", tmp_path)


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "npz"])
def test_a_file_that_is_no_npz(dataset, tmp_path):
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(idx_bytes(MNIST["x_train"]))
    assert f"{file} is no .npz file" in message(dataset, file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    file = write_npz(tmp_path / "own.npz")
    file.chmod(0)
    assert f"{file} can't be read: permission denied" in message("npz", file)


def test_permission_denied_is_not_called_corrupt(tmp_path):
    with (
        pytest.raises(UserError, match=r"own\.npz can't be read: permission denied"),
        formats.reading(tmp_path / "own.npz"),
    ):
        raise PermissionError(13, "Permission denied")


# Broken files


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_npz(tmp_path, save, kept):
    file = tmp_path / "own.npz"
    save(file, **MNIST)
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    text = message("npz", file)
    assert str(file) in text
    assert "truncated" in text


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_corrupt_npz(tmp_path, save):
    file = tmp_path / "own.npz"
    save(file, **MNIST)
    content = bytearray(file.read_bytes())
    content[5000] ^= 0xFF  # in the middle of x_train: only the checksum detects it
    file.write_bytes(content)
    text = message("npz", file)
    assert f"{file} can't be read" in text
    assert "corrupt" in text


def test_an_npz_with_a_member_that_is_no_array(tmp_path):
    file = write_npz(tmp_path / "own.npz", x_train=None)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("x_train.npy", b"just text")
    assert f"{file} can't be read" in message("npz", file)


def test_an_npz_without_some_arrays_says_what_it_has(tmp_path):
    file = write_npz(tmp_path / "own.npz", y_train=None, x_test=None, images=np.zeros(3))
    text = message("npz", file)
    assert f"{file} has no y_train, x_test" in text
    assert text.endswith("but has x_train, y_test, images")


def test_an_npz_with_python_objects_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    file = write_npz(tmp_path / "own.npz", x_train=np.array([Touch(marker)], object))
    text = message("npz", file)
    assert f"{file}: x_train holds Python objects" in text
    assert not marker.exists()


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kept", [0, 3, 15, 1000])
def test_a_truncated_idx_file(tmp_path, suffix, kept):
    write_idx(tmp_path, suffix=suffix)
    file = tmp_path / (IDX_NAMES["x_train"] + suffix)
    file.write_bytes(file.read_bytes()[:kept])
    text = message("mnist", tmp_path)
    assert f"{file} can't be read" in text
    assert "truncated" in text


def test_an_idx_file_that_goes_on_after_its_end(tmp_path):
    write_idx(tmp_path)
    file = tmp_path / IDX_NAMES["y_test"]
    file.write_bytes(file.read_bytes() + b"x")
    assert "more than 5 bytes of data where its header says" in message("mnist", tmp_path)


@pytest.mark.parametrize("magic", [b"\0\0\x08\x01", b"\0\0\x0d\x03", b"\x08\x03\0\0"])
def test_an_idx_file_with_another_magic_number(tmp_path, magic):
    """The magic numbers are those of labels in place of images, of floats, and of the wrong byte order."""
    write_idx(tmp_path)
    file = tmp_path / IDX_NAMES["x_test"]
    file.write_bytes(magic + file.read_bytes()[4:])
    text = message("mnist", tmp_path)
    assert str(file) in text
    assert f"magic number 0x{magic.hex()} instead of 0x00000803" in text


def test_a_corrupt_gzip(tmp_path):
    write_idx(tmp_path, suffix=".gz")
    file = tmp_path / (IDX_NAMES["x_train"] + ".gz")
    content = bytearray(file.read_bytes())
    content[3000] ^= 0xFF
    file.write_bytes(content)
    assert f"{file} can't be read" in message("mnist", tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 500, -1])
def test_a_truncated_python_batch(tmp_path, kept):
    write_cifar_pickles(tmp_path)
    file = tmp_path / "data_batch_2"
    file.write_bytes(file.read_bytes()[:kept])
    text = message("cifar10", tmp_path)
    assert f"{file} can't be read" in text
    assert "truncated" in text


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        ({b"data": np.zeros((2, 3072), np.uint8)}, "labels"),
        ({b"labels": [1, 2]}, "data"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, "1 labels"),
        ({b"data": np.zeros((2, 3000), np.uint8), b"labels": [1, 2]}, "(2, 3000)"),
        ({b"data": np.zeros((2, 3072), np.float32), b"labels": [1, 2]}, "uint8"),
        ({b"data": b"text", b"labels": [1, 2]}, "uint8"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": np.array([1, 2], "M8[s]")}, "array of type 'M8'"),
        ([1, 2], "list"),
    ],
)
def test_a_python_batch_with_something_else_in_it(tmp_path, batch, why):
    write_cifar_pickles(tmp_path)
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickle.dumps(batch))
    text = message("cifar10", tmp_path)
    assert f"{file} can't be read" in text
    assert why in text


@pytest.mark.parametrize("change", [-1, 1])
def test_a_binary_batch_of_the_wrong_length(tmp_path, change):
    write_cifar_binaries(tmp_path)
    file = tmp_path / "data_batch_5.bin"
    file.write_bytes((file.read_bytes() + b"x")[: 3 * 3073 + change])
    text = message("cifar10", tmp_path)
    assert f"{file} can't be read" in text
    assert f"{3 * 3073 + change} bytes" in text


def test_an_empty_binary_batch(tmp_path):
    write_cifar_binaries(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"")
    assert f"{tmp_path}/test_batch.bin can't be read" in message("cifar10", tmp_path)


# Readable files with data that can't be trained on: (data set, changes to MNIST above, part of the message)

NAN, INFINITE = MNIST["x_train"].astype(np.float32), MNIST["x_test"].astype(np.float64)
NAN[7, 3, 2], INFINITE[1, 27, 0] = np.nan, 1e300  # infinite in float32
FLOATS = {"x_train": MNIST["x_train"] / 255, "x_test": MNIST["x_test"] / 255}
BAD_DATA = {
    "negative label": ("mnist", {"y_train": np.arange(12) - 1}, "y_train has the label -1, out of range"),
    "negative label, test": ("mnist", {"y_test": np.full(5, -3)}, "y_test has the label -3, out of range"),
    "fraction": ("npz", {"y_test": np.arange(5) / 2}, "y_test has labels that are no whole numbers"),
    "NaN label": ("npz", {"y_test": np.array([0, 1, np.nan, 1, 1])}, "y_test has no label for example 2"),
    "infinite label": ("npz", {"y_test": np.array([0, 1, np.inf, 1, 1])}, "y_test has labels that are no whole"),
    "no word": ("npz", {"y_train": np.array(["cat"] * 11 + [""])}, "y_train has no label for example 11"),
    "too many classes": ("npz", {"x_train": np.zeros((99, 28, 28), np.uint8), "y_train": np.arange(99)}, "has 99 different labels among 104 examples"),  # noqa: E501 - a table reads better
    "no number": ("npz", {"y_train": np.arange(12) * 1j}, "y_train holds complex128: labels must be words or whole"),
    "one-hot": ("npz", {"y_train": np.eye(12)}, "y_train has the shape [12, 12] and is one-hot: it must be [N]"),
    "wraps around": ("mnist", {"y_train": np.full(12, 2**32)}, "y_train has the label 4294967296, out of range"),
    "11 classes": ("mnist", {"y_train": np.arange(12)}, "y_train has the label 11, out of range: number the classes 0 to 9"),  # noqa: E501 - a table reads better
    "11 classes, test": ("cifar10", {"y_test": np.arange(5) + 6}, "y_test has the label 10, out of range"),
    "lengths, train": ("npz", {"y_train": np.arange(11)}, "x_train has 12 examples but y_train has 11 labels"),
    "lengths, test": ("mnist", {"y_test": np.arange(6)}, "x_test has 5 examples but y_test has 6 labels"),
    "shapes": ("npz", {"x_test": MNIST["x_test"][:, 1:]}, "shape [28, 28, 1] but x_test has examples of shape [27, 28, 1]"),  # noqa: E501 - a table reads better
    "scales": ("npz", {"x_test": FLOATS["x_test"]}, "x_train has type uint8 but x_test has type float32"),
    "NaN": ("npz", FLOATS | {"x_train": NAN}, "x_train is NaN or infinite, first at index [7, 3, 2, 0]"),
    "infinite": ("npz", FLOATS | {"x_test": INFINITE}, "x_test is NaN or infinite, first at index [1, 27, 0, 0]"),
    "both infinities": (
        "npz", FLOATS | {"x_test": np.full((5, 28, 28), [np.inf, -np.inf] * 14)}, "x_test is NaN or infinite",
    ),
    "empty training part": ("npz", {"x_train": MNIST["x_train"][:0], "y_train": MNIST["y_train"][:0]}, "x_train is empty"),  # noqa: E501 - a table reads better
    "empty test part": ("mnist", {"x_test": MNIST["x_test"][:0], "y_test": MNIST["y_test"][:0]}, "x_test is empty"),
    "no labels": ("npz", {"y_test": MNIST["y_test"][:0]}, "y_test is empty"),
    "no pixels": ("npz", {"x_train": np.zeros((12, 0)), "x_test": np.zeros((5, 0))}, "x_train is empty"),
    "scalars": ("npz", {"x_train": np.zeros(12)}, "x_train has the shape [12]: it must be [N, D]"),
    "complex": ("npz", {"x_train": MNIST["x_train"] * 1j}, "x_train holds complex128"),
    "text": ("npz", {"x_test": np.array(["a"] * 5)}, "x_test holds <U1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_named(tmp_path, case):
    dataset, changes, expected = BAD_DATA[case]
    file = write_npz(tmp_path / "own.npz", **changes)
    text = message(dataset, file)
    assert text.startswith(str(file))
    assert expected in text


def test_bad_labels_in_idx_and_batches(tmp_path):
    write_idx(tmp_path)
    (tmp_path / IDX_NAMES["y_train"]).write_bytes(idx_bytes(np.full(12, 10, np.uint8)))
    assert f"{tmp_path}: y_train has the label 10, out of range" in message("mnist", tmp_path)
    write_cifar_binaries(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(bytes([200]) + bytes(3072))
    assert f"{tmp_path}: y_test has the label 200, out of range" in message("cifar10", tmp_path)


def test_large_finite_floats_are_fine(tmp_path):
    """All 9,408 numbers are the largest float32: their sum is finite in float64 only."""
    largest = np.finfo(np.float32).max
    changes = {"x_train": np.full((12, 28, 28), largest, np.float32), "x_test": np.zeros((5, 28, 28), np.float32)}
    file = write_npz(tmp_path / "own.npz", **changes)
    assert sources.load("npz", str(file)).x_train.max() == largest


def test_an_unknown_data_set_is_answered_with_the_list():
    assert f"known: {', '.join(registry.DATASETS)}" in message("imagenet", "")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, None),
        ({"y_train": np.array([0, 1, 3, 4] * 3)}, "no training example has the class 2: the network can't learn it"),
        ({"y_train": 1 + np.arange(12) % 3, "y_test": 1 + np.arange(5) % 3}, None),
        (
            {"y_train": np.array([0] * 10 + [1, 2]), "y_test": np.array([0, 0, 0, 1, 2])},
            "the classes are not balanced: 10 training examples of 0, 1 of 1; always to say 0 has an accuracy of 0.6",
        ),
        ({"names": np.array(["a", "b"])}, "names is not read"),
    ],
)
def test_what_a_user_may_not_expect_of_an_npz_is_said(tmp_path, changes, note):
    path = write_npz(tmp_path / "own.npz", **{"y_train": np.arange(12) % 5, "y_test": np.arange(5)} | changes)
    notes = sources.load("npz", str(path)).notes
    assert len(notes) == (note is not None)
    assert all(note in one and str(path) in one for one in notes)
