"""Labels as people have them."""

import numpy as np
import pytest
import running

from bnn_hvd.data import labels, sources
from bnn_hvd.data.description import Description, class_counts
from bnn_hvd.data.standardize import fit
from bnn_hvd.errors import UserError

LABELS = {
    "from 1": (np.array([1, 2, 3, 1]), ("1", "2", "3"), [0, 1, 2, 0]),
    "gaps": (np.array([30, -1, 7, 7]), ("-1", "7", "30"), [2, 0, 1, 1]),
    "whole floats": (np.array([2.0, 10.0, 2.0]), ("2", "10"), [0, 1, 0]),
    "words": (np.array(["oak", "ash ", "oak", "10", "9"]), ("10", "9", "ash", "oak"), [3, 2, 3, 0, 1]),
    "bytes": (np.array([b"b", b"a"]), ("a", "b"), [1, 0]),
    "truth": (np.array([True, False]), ("False", "True"), [1, 0]),
    "a column": (np.array([[5], [4]]), ("4", "5"), [1, 0]),
    "none": (np.array(["b", "", "NA", "a"]), ("a", "b"), [1, -1, -1, 0]),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_are_numbered_in_ascending_order(case):
    y, names, numbers = LABELS[case]
    assert labels.class_names({"y": y}) == names
    assert labels.encode(y, names, "y").tolist() == numbers


def test_numbers_that_are_no_names_are_class_numbers():
    """CIFAR-10's classes have names, and files of others have their numbers."""
    assert labels.encode(np.array([2, 0]), ("airplane", "automobile", "bird"), "y").tolist() == [2, 0]


def test_a_label_that_is_no_class_is_named_or_unknown():
    with pytest.raises(UserError, match="has the label elm, which is none of the 2 classes of the run, ash, oak"):
        labels.encode(np.array(["oak", "elm"]), ("ash", "oak"), "y")
    assert labels.encode(np.array(["oak", "elm"]), ("ash", "oak"), "y", strict=False).tolist() == [1, -1]


def test_the_mapping_is_kept_with_the_run(tmp_path):
    y = np.array(["oak", "ash", "elm", "oak"] * 24)
    arrays = sources.load("npz", str(running.write_npz(tmp_path / "a.npz", y_train=y, y_test=y[:40])))
    assert arrays.y_train[:4].tolist() == [2, 0, 1, 2]
    described = Description.of(arrays, arrays.target(), fit(arrays.x_train, "channel"))
    again = Description.from_dict(described.to_dict())
    assert again.class_names == ("ash", "elm", "oak")
    assert again.class_counts == class_counts(arrays) == (24, 24, 48)


def test_without_a_test_part_one_is_held_out(tmp_path):
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez(tmp_path / "b.npz", x_train=x, y_train=y)
    for name in ("a", "b"):
        arrays = sources.load("npz", str(tmp_path / f"{name}.npz"), validation_fraction=0.3)
        rows = arrays.rows_test
        assert len(rows) == 9
        np.testing.assert_array_equal(arrays.x_test, x[rows])
        np.testing.assert_array_equal(arrays.x_train, np.delete(x, rows, 0))
        np.testing.assert_array_equal(arrays.y_train, np.delete(y, rows))
        assert "has no x_test: 9 of 30 examples are held out (--validation_fraction)" in arrays.notes[0]
    with pytest.raises(UserError, match=r"--validation_fraction=0.01 of its 30 examples leaves none in one"):
        sources.load("npz", str(tmp_path / "a.npz"), validation_fraction=0.01)


def test_arrays_have_real_targets_with_a_likelihood_of_them(tmp_path):
    file = str(running.write_npz(tmp_path / "a.npz", y_train=np.linspace(0, 1, 96), y_test=np.arange(40)))
    arrays = sources.load("npz", file, likelihood="heteroscedastic")
    assert (arrays.num_classes, arrays.y_train.dtype, arrays.y_test[-1]) == (0, np.float32, 39)
    with pytest.raises(UserError, match="y_train has labels that are no whole numbers: a real target is learnt with"):
        sources.load("npz", file)
