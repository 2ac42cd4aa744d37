"""The user's own table, and the sine."""

import numpy as np
import pytest

from bnn_hvd.config import resolve
from bnn_hvd.data import sources
from bnn_hvd.data.sine import EDGE, sine
from bnn_hvd.errors import UserError


def write(folder, text: str) -> str:
    file = folder / "data.csv"
    file.write_text(text)
    return str(file)


def rows(count: int) -> str:
    return "\n".join(f"{i},{i * 0.5},{-i}" for i in range(count))


def test_columns_in_their_order_and_every_row_once(tmp_path):
    arrays = sources.load("table", write(tmp_path, "a, y ,b\n" + rows(20)), target="y")
    assert (len(arrays.x_train), len(arrays.x_test), arrays.num_classes) == (16, 4, 0)
    assert arrays.input_names == ("a", "b")
    x, y = np.concatenate([arrays.x_train, arrays.x_test]), np.concatenate([arrays.y_train, arrays.y_test])
    order = np.argsort(x[:, 0])
    np.testing.assert_array_equal(x[order], [[i, -i] for i in range(20)])
    np.testing.assert_array_equal(y[order], np.arange(20) * 0.5)


def test_the_test_part_is_the_fraction_that_is_asked_for(tmp_path):
    file = write(tmp_path, "a,y,b\n" + rows(100))
    of = {
        fraction: sources.load("table", file, target="y", test_fraction=fraction)
        for fraction in (0.01, 0.2, 0.29, 0.99)
    }
    assert {fraction: len(arrays.y_test) for fraction, arrays in of.items()} == {0.01: 1, 0.2: 20, 0.29: 29, 0.99: 99}
    assert set(of[0.2].y_test) < set(of[0.29].y_test)
    assert set(of[0.2].y_test) & set(of[0.2].y_train) == set()
    for fraction in (0.0, 0.009):
        with pytest.raises(UserError, match="leaves none in one of the two parts"):
            sources.load("table", file, target="y", test_fraction=fraction)


def test_a_target_of_what_is_no_table_is_a_users_mistake():
    with pytest.raises(UserError, match="--target=y is of --dataset=table, not of sine"):
        resolve(dataset="sine", target="y")


def test_npz_columns_may_have_several_numbers(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.arange(20.0).reshape(10, 2), y=np.arange(10))
    arrays = sources.load("table", str(tmp_path / "data.npz"), target="y")
    assert arrays.x_train.shape == (8, 2)
    assert arrays.input_names == ("x[0]", "x[1]")
    assert arrays.y_train.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("a,y\n" + "1,2\n" * 9, "z", "no column 'z' for --target; it has a, y"),
        ("a,y\n1,2\n1,x\n", "y", r"row 1 \(from 0\), column 'y' holds 'x', which is no number, beside numbers"),
        ("a,y\n1,2\n1\n", "y", r"row 1 \(from 0\) has 1 cells, the header 2"),
        ("y\n1\n2\n3\n4\n5\n", "y", "beside at least one other"),
        ("a,y\n1,2\n", "y", "has 1 rows: --test_fraction=0.2 leaves none"),
        ("a,a,y\n1,2,3\n", "y", "two columns have the same name"),
        (
            "a,y\n" + "1,2\n" * 9 + "1,nan\n" * 9,
            "y",
            r"column 'y', the target, has no value in row 9 \(from 0\), as 9 of 18 rows",
        ),
        ("", "y", "no column 'y'"),
        ("a,y\n" + "1,1e39\n" * 9, "y", "is NaN or infinite"),
        ("a,y\n1," + "2" * 200_000, "y", "can't be read .*field larger"),
    ],
)
def test_a_table_that_can_not_be_used_is_named_with_the_place(tmp_path, text, target, says):
    with pytest.raises(UserError, match=says):
        sources.load("table", write(tmp_path, text), target=target)


def test_the_mark_of_a_spreadsheet_is_no_part_of_the_first_name(tmp_path):
    (tmp_path / "data.csv").write_bytes("y,größe\n".encode("utf-8-sig") + b"1,2\n" * 9)
    assert sources.load("table", str(tmp_path / "data.csv"), target="y").y_train.max() == 1


def test_another_encoding_is_a_users_mistake(tmp_path):
    (tmp_path / "data.csv").write_bytes("y,größe\n".encode("latin-1") + b"1,2\n" * 9)
    with pytest.raises(UserError, match="save it as a comma-separated table in UTF-8"):
        sources.load("table", str(tmp_path / "data.csv"), target="y")


def test_no_file_is_a_users_mistake(tmp_path):
    for path in ("", str(tmp_path / "none.csv")):
        with pytest.raises(UserError, match="--dataset=table needs --data_dir"):
            sources.load("table", path, target="y")


def test_the_sine_is_in_its_interval_with_noise_that_grows():
    arrays = sine("")
    x, noise = arrays.x_train[:, 0], arrays.y_train - np.sin(arrays.x_train[:, 0])
    assert np.abs(x).max() <= EDGE
    assert not set(x) & set(arrays.x_test[:, 0])
    left, right = noise[x < -EDGE / 2].std(), noise[x > EDGE / 2].std()
    assert left < 0.09 < 0.15 < right  # truth: 0.05 to 0.09, 0.16 to 0.2; 250 examples measure it to 4.5 %
    np.testing.assert_allclose(arrays.truth_grid, np.sin(arrays.x_grid[:, 0]), atol=1e-6)


def test_a_table_without_a_target_says_what_there_is(tmp_path):
    file = write(tmp_path, "a,y,b\n" + rows(9))
    with pytest.raises(UserError, match=r"--dataset=table needs --target, the column to predict; .* has a, y, b"):
        sources.load("table", file)


def test_a_note_says_which_columns_are_inputs(tmp_path):
    """A second target among them would be an input that nobody knows when predicting."""
    (note,) = sources.load("table", write(tmp_path, "a,y,y2\n" + rows(9)), target="y").notes
    assert "the inputs are a, y2, all columns but the target: leave out one that is not known" in note


def test_several_targets_are_columns_in_the_order_of_the_flag(tmp_path):
    file = write(tmp_path, "a,y,b\n" + rows(20))
    arrays = sources.load("table", file, target="b, a")
    assert (arrays.target_names, [column.name for column in arrays.columns]) == (("b", "a"), ["y"])
    np.testing.assert_array_equal(arrays.y_train[:, 0], -arrays.y_train[:, 1])
    np.testing.assert_array_equal(arrays.x_train[:, 0], 0.5 * arrays.y_train[:, 1])
    units = arrays.target()
    standardized = units.standardized(arrays.y_train)
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standardized.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(arrays.target(standardize=False).standardized(arrays.y_train), arrays.y_train)
    with pytest.raises(UserError, match="no column 'c' for --target"):
        sources.load("table", file, target="a,c")
    with pytest.raises(UserError, match="each with noise of its own"):
        units.likelihood("", noise_scale=0.1)


def test_a_column_with_a_comma_in_its_name_is_one_target(tmp_path):
    arrays = sources.load("table", write(tmp_path, '"a,y",b\n' + "1,2\n" * 9), target="a,y")
    assert ([column.name for column in arrays.columns], arrays.target_names, arrays.y_train.ndim) == (["b"], (), 1)


def test_the_only_target_of_a_mixture_is_a_column(tmp_path):
    file = write(tmp_path, "a,y,b\n" + rows(20))
    flags = {"dataset": "table", "data_dir": file, "target": "y", "architecture": "mlp", "method": "point"}
    arrays = sources.load_configured(resolve(**flags, likelihood="gaussian_mixture"))
    assert (arrays.target_names, arrays.y_train.shape) == (("y",), (16, 1))
    assert sources.load_configured(resolve(**flags)).y_train.shape == (16,)
