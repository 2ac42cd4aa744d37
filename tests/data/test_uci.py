"""Tables that come with their splits: as an .npz, and as they were published."""

import numpy as np
import pytest

from bnn_hvd.data import sources, standardize, uci
from bnn_hvd.errors import UserError

N, D = 40, 3
TEST = {0: [3, 30, 7], 1: [0, 39]}


def table():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, D)).astype(np.float32), rng.normal(size=N).astype(np.float32)


def archive(folder, **changes):
    x, y = table()
    parts = {"x": x, "y": y} | {f"test_index_{k}": np.array(rows, np.int32) for k, rows in TEST.items()}
    np.savez(folder / "set.npz", **parts | changes)
    return str(folder / "set.npz")


def published(folder):
    """Write the table as the repository of the papers has it: the target is its second column."""
    x, y = table()
    (folder / "data").mkdir()
    columns = np.column_stack([x[:, 0], y, x[:, 1:]]).astype(np.float64)
    files = {"data": columns, "index_features": [0, 2, 3], "index_target": [1], "n_splits": [2]}
    for k, rows in TEST.items():
        files |= {f"index_test_{k}": rows, f"index_train_{k}": np.setdiff1d(np.arange(N), rows)[::-1]}
    for name, values in files.items():
        np.savetxt(folder / "data" / f"{name}.txt", np.asarray(values, float))
    return str(folder)


@pytest.mark.parametrize("split", TEST)
def test_the_test_rows_are_those_of_the_split_and_the_others_train(tmp_path, split):
    x, y = table()
    arrays = sources.load("uci", archive(tmp_path), split=split)
    others = np.setdiff1d(np.arange(N), TEST[split])
    np.testing.assert_array_equal(arrays.x_test, x[TEST[split]])
    np.testing.assert_array_equal(arrays.y_test, y[TEST[split]])
    np.testing.assert_array_equal(arrays.x_train, x[others])
    np.testing.assert_array_equal(arrays.y_train, y[others])
    assert arrays.rows_test.tolist() == TEST[split]
    assert (arrays.num_classes, uci.num_splits(archive(tmp_path))) == (0, 2)


def test_the_published_folder_has_the_same(tmp_path):
    """Its training rows come in the order of their file."""
    (tmp_path / "set").mkdir()
    ours, theirs = (sources.load("uci", path, split=1) for path in (archive(tmp_path), published(tmp_path / "set")))
    np.testing.assert_array_equal(ours.x_test, theirs.x_test)
    np.testing.assert_array_equal(ours.y_test, theirs.y_test)
    np.testing.assert_array_equal(ours.x_train[::-1], theirs.x_train)
    np.testing.assert_array_equal(ours.y_train[::-1], theirs.y_train)
    assert uci.num_splits(str(tmp_path / "set")) == uci.num_splits(str(tmp_path / "set" / "data")) == 2


def test_flags_are_chosen_on_training_rows_alone(tmp_path):
    arrays = sources.load("uci", archive(tmp_path), split=0, tuning_fraction=0.2)
    assert len(arrays.x_test) == int(0.2 * (N - 3))
    assert len(arrays.x_test) + len(arrays.x_train) == N - 3
    assert not set(arrays.rows_test) & set(TEST[0])
    np.testing.assert_array_equal(arrays.x_test, table()[0][arrays.rows_test])


def test_a_target_may_be_classes(tmp_path):
    path = archive(tmp_path, y=np.arange(N) % 3)
    assert sources.load("uci", path, likelihood="categorical").class_names == ("0", "1", "2")
    assert sources.load("uci", path).class_names == ()


@pytest.mark.parametrize(
    ("flags", "changes", "message"),
    [
        ({"split": 2}, {}, "has no split 2: it has 2, --split=0 to 1"),
        ({}, {"test_index_0": np.array([1, 1])}, "test rows of split 0 must be different whole numbers from 0 to 39"),
        ({}, {"test_index_0": np.array([40])}, "different whole numbers from 0 to 39"),
        ({}, {"test_index_0": np.array([0.5])}, "different whole numbers"),
        ({}, {"train_index_0": np.array([3, 4])}, "split 0 has 1 rows in both parts"),
        ({}, {"test_index_0": np.arange(N)}, "the training rows of split 0 must be"),
        ({"tuning_fraction": 0.001}, {}, "leaves 37 training and 0 test rows"),
        ({}, {"x": np.zeros([N, 2, 2, 1])}, r"x must be \[N, D\] and y \[N\]"),
        ({}, {"y": np.zeros(3)}, r"x must be \[N, D\] and y \[N\]"),
        ({}, {"y": np.full(N, np.nan)}, "has no value in row 0"),
    ],
)
def test_mistakes(tmp_path, flags, changes, message):
    with pytest.raises(UserError, match=message):
        sources.load("uci", archive(tmp_path, **changes), **flags)


def test_missing_files(tmp_path):
    np.savez(tmp_path / "plain.npz", x=np.zeros([3, 2]), y=np.zeros(3))
    with pytest.raises(UserError, match="has no test_index_0"):
        sources.load("uci", str(tmp_path / "plain.npz"))
    with pytest.raises(UserError, match=r"has no data\.txt"):
        sources.load("uci", str(tmp_path))
    (tmp_path / "set").mkdir()
    folder = published(tmp_path / "set")
    (tmp_path / "set" / "data" / "index_target.txt").unlink()
    with pytest.raises(UserError, match=r"index_target\.txt does not exist"):
        sources.load("uci", folder)


def test_the_standard_splits(shared_data):
    """A tenth of the rows is tested; a constant column of naval has no scale, and does not blow up."""
    folder = shared_data / "uci"
    naval = sources.load("uci", str(folder / "naval-propulsion-plant.npz"), split=19)
    assert (len(naval.x_train), len(naval.x_test)) == (10741, 1193)
    scaled = (naval.x_test - naval.x_train.mean(0)) * standardize.fit(naval.x_train, "channel").inv_std
    assert np.abs(scaled).max() < 10
    assert uci.num_splits(str(folder / "protein-tertiary-structure.npz")) == 5
