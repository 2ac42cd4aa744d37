"""Flags, data files, checkpoints and run directories with anything in them: each is refused in a sentence, or right.

Examples come from hypothesis, the same in every run. A refusal is a UserError, which the command line turns into exit
code 2; any other exception fails a test, and so does a case that takes longer than its deadline.
"""

import gzip
import io
import shutil
import string
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bnn_hvd import cli, config
from bnn_hvd.config import flagfile
from bnn_hvd.data import formats, sources
from bnn_hvd.errors import UserError
from bnn_hvd.run import checkpoint, records, rundir
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.studies.scaling import collect

DEADLINE_MS = 10_000  # of one case, on a machine with other work; a usual one takes a millisecond


def cases(number: int):
    return settings(
        max_examples=number, deadline=DEADLINE_MS, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip


def right_or_refused(action):
    """Call an action, and return what it returns, None if it is refused."""
    try:
        return action()
    except UserError:
        return None


FLAGS = sorted({name for verb in cli.VERBS.values() for name in config.flags_of(verb.config_type)})
VALUES = st.one_of(
    st.text(max_size=12), st.integers().map(str), st.floats().map(str),
    st.sampled_from(["true", "false", "vi", "hmc", "digits", "-1", "0", "1e999", "nan", "1,2", "a,b", ",", "=", "--"]),
)  # fmt: skip
WORDS = st.one_of(
    st.builds("--{}={}".format, st.sampled_from(FLAGS), VALUES),
    st.builds("--{}".format, st.sampled_from(FLAGS)),
    st.builds("--{}={}".format, st.text(string.ascii_letters + "_", max_size=8), VALUES),
    st.text(max_size=8),
)


@cases(500)
@given(verb=st.sampled_from(sorted(cli.VERBS)), words=st.lists(WORDS, max_size=5))
def test_flags(verb, words):
    words = [word for word in words if not word.startswith(("--run=", "--flagfile")) and "\0" not in word]
    right_or_refused(lambda: cli.parse(cli.VERBS[verb].config_type, words))


@cases(600)
@given(
    content=st.one_of(
        st.binary(max_size=200), st.lists(WORDS, max_size=6).map(lambda w: "\n".join(w).encode("utf-8", "replace"))
    )
)
def test_flagfiles_and_the_configuration_of_a_run(tmp_path, content):
    file = tmp_path / records.CONFIG
    file.write_bytes(content)
    words = right_or_refused(lambda: flagfile.expand([f"--flagfile={file}"]))
    if words is not None and not any(word.startswith("--run=") for word in words):
        right_or_refused(lambda: cli.parse(config.TrainConfig, words))
    right_or_refused(lambda: rundir.read_config(tmp_path))


ARRAYS = hnp.arrays(
    dtype=st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes(max_len=3)),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements=None,
)


def npz(arrays, allow_pickle=True) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=allow_pickle, **arrays)
    return buffer.getvalue()


def plausible(x, y):
    """Return a data set whose parts have these inputs and labels."""
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y}


NPZ = st.one_of(
    st.dictionaries(st.sampled_from(["x_train", "y_train", "x_test", "y_test", "z"]), ARRAYS, max_size=5),
    st.builds(plausible, ARRAYS, ARRAYS),
)


def load(dataset, path, **flags):
    return right_or_refused(lambda: sources.load(dataset, str(path), **flags))


@cases(500)
@given(arrays=NPZ, target=st.sampled_from(["x_train", "z"]))
def test_arrays_of_any_type_and_shape(tmp_path, arrays, target):
    path = tmp_path / "data.npz"
    path.write_bytes(npz(arrays))
    if found := load("npz", path):
        assert np.isfinite(found.x_train).all()
        assert found.y_train.min() >= 0
        assert len(found.x_train) == len(found.y_train) > 0
    load("table", path, target=target)


WHOLE = npz(plausible(np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(4) % 2))
DAMAGE = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4)


def damaged(content: bytes, changes, cut: int) -> bytes:
    """Return the content with bytes changed, and cut off at an index, if that is not negative."""
    out = bytearray(content)
    for index, value in changes:
        out[index] = value
    return bytes(out[:cut] if cut >= 0 else out)


@cases(1000)
@given(changes=DAMAGE, cut=st.integers(-200, len(WHOLE)))
def test_damaged_and_truncated_npz_files(tmp_path, changes, cut):
    path = tmp_path / "data.npz"
    path.write_bytes(damaged(WHOLE, changes, cut))
    load("npz", path)
    load("table", path, target="y_train")


@cases(500)
@given(dataset=st.sampled_from(["mnist", "cifar10", "npz", "table", "movielens"]), content=st.binary(max_size=300))
def test_files_of_any_bytes(tmp_path, dataset, content):
    for name in ("data.npz", "data.csv", "train-images-idx3-ubyte", "data_batch_1", "data_batch_1.bin", "ratings.dat"):
        (tmp_path / name).write_bytes(content)
    load(dataset, tmp_path, **({"target": "a"} if dataset == "table" else {}))
    if dataset in ("npz", "table"):
        load(dataset, tmp_path / ("data.csv" if dataset == "table" else "data.npz"))


@cases(300)
@given(rows=st.lists(st.lists(st.one_of(st.floats().map(str), st.text(max_size=4)), max_size=4), max_size=6))
def test_tables(tmp_path, rows):
    path = tmp_path / "data.csv"
    path.write_bytes("\n".join(["a,b", *(",".join(row) for row in rows)]).encode("utf-8", "replace"))
    if found := load("table", path, target="a"):
        assert np.isfinite(found.x_train).all()


def huge_npy(shape: str) -> bytes:
    """Return the head of an array of a shape, without content."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


@pytest.mark.parametrize(
    "shape", ["(1099511627776,)", "(1099511627776, 1099511627776)", "(-1,)", "(17179869184,)", "()"]
)
def test_dimensions_that_the_file_does_not_have(tmp_path, shape):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", huge_npy(shape))
    assert load("npz", path) is None
    assert load("table", path, target="x_train") is None


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """16 MB of zeros in 16 kB, where the host has 1 MB."""
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **plausible(np.zeros([1000, 1000], np.float32), np.arange(1000) % 2))
    monkeypatch.setattr(formats, "memory_bytes", lambda: 10**6)
    for dataset in ("npz", "table"):
        with pytest.raises(UserError, match=r"holds 0\.008.* GB of arrays, and this host has 0\.001 GB"):
            sources.load(dataset, str(path), **({"target": "y_train"} if dataset == "table" else {}))


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    """64 MiB of zeros in 64 kB, behind a head that announces 28 x 28 bytes."""
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        head = struct.pack(">4I", 8 << 8 | 3, 1, 28, 28)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(head + bytes(1 << 26)))
    for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(struct.pack(">2I", 8 << 8 | 1, 1) + b"\0"))
    with pytest.raises(UserError, match="more than 784 bytes of data where its header says 784"):
        sources.load("mnist", str(tmp_path))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run of one step."""
    run = tmp_path_factory.mktemp("bad_input") / "run"
    flags = ("--architecture=linear", "--method=point", "--steps=2", "--batch_size=8", "--threads=1")
    data = running.write_npz(run.parent / "data.npz", num_features=2)
    (outcome,) = running.all_succeed(
        run.parent / "outcomes", ["train", "--dataset=npz", f"--data_dir={data}", *flags, f"--run={run}"]
    )
    assert outcome[0].code == 0
    return run


def test_every_byte_of_a_checkpoint(tmp_path, capsys):
    """A flipped byte does not match the name; renamed to match, it is still right, or refused."""
    (tmp_path / "whole").mkdir()
    path = checkpoint.save(tmp_path / "whole", {"params:0": np.arange(3, dtype=np.float32)}, Progress(step=7), 2)
    whole, name = path.read_bytes(), path.name
    folder = tmp_path / "flipped"
    folder.mkdir()
    for index in range(len(whole)):
        flipped = bytearray(whole)
        flipped[index] ^= 0xFF
        (folder / name).write_bytes(flipped)
        assert checkpoint.read_newest_good(folder) is None, index
        (folder / name).unlink()
        (folder / "x.npz").write_bytes(flipped)
        matching = folder / f"step-0000000007-{checkpoint._digest(folder / 'x.npz')}.npz"
        (folder / "x.npz").rename(matching)
        right_or_refused(lambda: checkpoint.read_newest_good(folder))
        matching.unlink()
    assert "is damaged and not used" in capsys.readouterr().err
    assert len(whole) > 1000


READERS = {
    "config": rundir.read_config, "data": rundir.read_data, "summary": rundir.read_summary,
    "checkpoint": rundir.read_checkpoint, "view": rundir.view, "study": collect.read,
}  # fmt: skip
FILES = (records.CONFIG, records.DATA, records.SUMMARY, records.PROVENANCE, records.TIMINGS, records.METRICS)
CONTENTS = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.sampled_from([b"", b"{}", b"[]", b"null", b"7", b'{"fingerprint": 7}', b"--epochs=x\n", b"--epochs\n"]),
)


@cases(500)
@given(name=st.sampled_from(FILES), content=CONTENTS, reader=st.sampled_from(sorted(READERS)))
def test_run_directories_with_foreign_files(tmp_path, finished, name, content, reader):
    """content: of one of its files; None: it is missing."""
    run = tmp_path / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(finished, run)
    (run / name).unlink(missing_ok=True)
    if content is not None:
        (run / name).write_bytes(content)
    right_or_refused(lambda: READERS[reader](run))
