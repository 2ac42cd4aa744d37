"""Data by a function of the user's own."""

from pathlib import Path

import numpy as np
import pytest
import running

from bnn_hvd.config import TrainConfig, resolve
from bnn_hvd.data import own, sources
from bnn_hvd.data.stored import StoredArray
from bnn_hvd.errors import UserError
from bnn_hvd.run import records

CODE = """
import numpy as np

def load(data_dir, count=60, kind="dict", start=0):
    x = np.arange(count * 4.0).reshape(count, 4) % 7 + start
    y = np.array(["low", "high"])[np.arange(count) % 2]
    if kind == "fails":
        raise ValueError("the river is dry")
    if kind == "tuple":
        return x, y, x[:10], y[:10]
    if kind == "mapped":
        np.save(data_dir + "/mapped.npy", x.astype(np.float32))
        x = np.load(data_dir + "/mapped.npy", mmap_mode="r")
    if kind in ("dict", "mapped"):
        return {"x": x, "y": y}
    return x

def needs(data_dir, where):
    return load(data_dir)

def alone():
    return load("")
"""


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "my_data.py").write_text(CODE)
    return tmp_path / "my_data.py"


def configured(file: Path, args: str = "", function: str = "load", **flags) -> TrainConfig:
    more = {"dataset_args": args} if args else {}
    folder = file.parent
    return resolve(
        dataset=f"{file}:{function}", data_dir=str(folder), architecture="fc", run=str(folder / "run"), **more, **flags
    )


def test_what_the_function_returns_is_read_as_arrays(file):
    arrays = sources.load_configured(configured(file, "count=40,start=1"))
    assert (len(arrays.x_train), len(arrays.x_test), arrays.class_names) == (32, 8, ("high", "low"))
    np.testing.assert_array_equal(
        arrays.x_test[0], np.arange(4 * arrays.rows_test[0], 4 * arrays.rows_test[0] + 4) % 7 + 1
    )
    assert len(sources.load_configured(configured(file, "kind=tuple")).x_test) == 10
    assert isinstance(sources.load_configured(configured(file, "kind=mapped")).x_train, StoredArray)


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        ("load", "kind=fails", "the function raises ValueError: the river is dry; correct it"),
        ("load", "kind=nothing", r"the function returns ndarray: it must return a dict of arrays, x_train, y_train"),
        ("load", "wide=3", "it takes the arguments data_dir, count, kind, start, of which --dataset_args may give"),
        ("load", "count", "--dataset_args=count must be name=value, with commas"),
        ("lod", "", r"it has no function 'lod'; its functions are load, needs, alone"),
        ("needs", "", "it needs the argument 'where': give --dataset_args=where=VALUE"),
        ("alone", "", "it takes the arguments none, of which --dataset_args may give none, not none"),
    ],
)
def test_a_function_that_does_not_fit_is_a_users_mistake(file, function, args, says):
    with pytest.raises(UserError, match=says) as caught:
        sources.load_configured(configured(file, args, function))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_is_broken_is_named(file):
    with pytest.raises(UserError, match=r"there is no file .*none\.py: correct the path, or give MODULE:FUNCTION"):
        sources.load_configured(configured(file.with_name("none.py")))
    with pytest.raises(UserError, match=r"Python finds no module 'no.such.module'"):
        sources.load_configured(resolve(dataset="no.such.module:load"))
    file.write_text("import numpy\n1 / 0\n")
    with pytest.raises(UserError, match=r"importing .*my_data.py raises ZeroDivisionError: division by zero"):
        sources.load_configured(configured(file))


def test_a_module_is_found_on_the_path(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    config = resolve(dataset="my_data:load", data_dir=str(file.parent), run=str(file.parent / "run"))
    assert len(sources.load_configured(config).x_train) == 48


def test_the_run_uses_its_copy(file):
    """A change of the file changes neither the data of the run nor what is predicted; it is said."""
    config = configured(file)
    (file.parent / "run").mkdir()
    code = own.code_of(config)
    code.keep_copy()
    before = sources.load_configured(config)
    assert not code.change_note()
    file.write_text(CODE.replace("start=0", "start=5"))
    assert f"{file} has changed since the run began: the run uses its copy {code.copy}" in code.change_note()
    code.keep_copy()
    np.testing.assert_array_equal(sources.load_configured(config).x_train, before.x_train)
    file.unlink()
    np.testing.assert_array_equal(sources.load_configured(config).x_train, before.x_train)


def test_train_and_predict(file):
    """The data are those of the function at the time of training, for `predict` too, and new data are as of any run."""
    folder, run = file.parent, file.parent / "run"
    np.savez(folder / "new.npz", x=np.ones([5, 4]))
    train = [
        "train", f"--dataset={file}:load", f"--data_dir={folder}", "--dataset_args=kind=mapped", "--architecture=fc",
        "--method=point", "--steps=3", "--batch_size=8", "--threads=1", f"--run={run}",
    ]  # fmt: skip
    predict = ["predict", f"--run={run}", "--threads=1"]
    running.all_succeed(folder / "first", train, predict)
    assert (run / records.DATASET_CODE).read_text() == CODE
    file.write_text("def load(data_dir, kind): return 1 / 0\n")
    again, new = running.all_succeed(folder / "second", [*predict], [*predict, f"--data_dir={folder / 'new.npz'}"])
    assert all("has changed since the run began" in one.stderr for one in (again[0], new[0]))
    assert running.read_json(run, records.DATA)["class_names"] == ["high", "low"]
