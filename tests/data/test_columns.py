"""Tables as people have them: words, empty cells, dates, columns in any order."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from bnn_hvd.data import columns, sources, table
from bnn_hvd.data.columns import Column
from bnn_hvd.errors import UserError

TREES = "height,colour,code,species\n" + "\n".join(
    f"{i}.5,{('red', 'green', 'blue')[i % 3]},{i % 2},{('oak', 'ash')[i % 2]}" for i in range(20)
)


def write(folder: Path, text: str, name: str = "trees.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_words_are_one_hot_and_numbers_stay(tmp_path):
    arrays = sources.load("table", write(tmp_path, TREES), target="species", categorical="code")
    assert arrays.input_names == ("height", "colour=blue", "colour=green", "colour=red", "code=0", "code=1")
    assert arrays.class_names == ("ash", "oak")
    rows = arrays.rows_test
    np.testing.assert_array_equal(arrays.x_test[:, 0], rows + 0.5)
    for column, remainder in ((3, 0), (2, 1), (1, 2)):
        np.testing.assert_array_equal(arrays.x_test[:, column], rows % 3 == remainder)
    np.testing.assert_array_equal(arrays.x_test[:, 5], rows % 2)
    np.testing.assert_array_equal(arrays.y_test, 1 - rows % 2)
    assert "columns of categories, each an input that is 0 or 1: colour (3), code (2)" in arrays.notes[1]


@pytest.mark.parametrize(
    ("asked", "inputs"),
    [("code,height", ("height", "code")), ("-colour", ("height", "code")), ("-colour,-code", ("height",))],
)
def test_columns_are_picked_by_name(tmp_path, asked, inputs):
    assert sources.load("table", write(tmp_path, TREES), target="species", columns=asked).input_names == inputs


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"columns": "width"}, "no column 'width' for --columns; it has height, colour, code, species"),
        ({"columns": "-width"}, "no column '-?width' for --columns"),
        ({"columns": "height,species"}, "names the target: it can't be an input too"),
        ({"columns": "-height,-colour,-code"}, "leaves no input"),
        ({"likelihood": "gaussian"}, "column 'species' holds words, which have no --likelihood=gaussian"),
    ],
)
def test_a_choice_that_is_none_is_a_users_mistake(tmp_path, flags, says):
    with pytest.raises(UserError, match=says):
        sources.load("table", write(tmp_path, TREES), target="species", **flags)


def test_numbers_are_classes_if_the_likelihood_says_so(tmp_path):
    file = write(tmp_path, TREES)
    assert sources.load("table", file, target="code").num_classes == 0
    assert sources.load("table", file, target="code", likelihood="categorical").class_names == ("0", "1")


GAPS = "a,b,y\n" + "\n".join(f"{'' if i % 5 == 0 else i},{'NA' if i % 7 == 0 else 'wx'[i % 2]},{i}" for i in range(35))


@pytest.mark.parametrize(("missing", "statistic"), [("mean", np.mean), ("median", np.median)])
def test_missing_values_are_imputed_from_the_training_part(tmp_path, missing, statistic):
    arrays = sources.load("table", write(tmp_path, GAPS), target="y", missing=missing)
    train = np.delete(np.arange(35), arrays.rows_test)
    fill = np.float32(statistic(train[train % 5 > 0]))
    for x, rows in ((arrays.x_train, train), (arrays.x_test, arrays.rows_test)):
        np.testing.assert_array_equal(x[:, 0], np.where(rows % 5, rows, fill))
        np.testing.assert_array_equal(x[:, 1], (rows % 7 > 0) & (rows % 2 == 0))
        np.testing.assert_array_equal(x[:, 2], (rows % 7 > 0) & (rows % 2 == 1))


def test_missing_values_are_named_unless_a_flag_imputes_them(tmp_path):
    with pytest.raises(UserError, match=r"row 0 \(from 0\), column 'a' has no value, as 7 of 35 rows: train with"):
        sources.load("table", write(tmp_path, GAPS), target="y")
    with pytest.raises(UserError, match=r"row 0 \(from 0\), column 'b' has no value, as 5 of 35 rows"):
        sources.load("table", write(tmp_path, GAPS), target="y", columns="b")


DATES = ("2024-01-31", "31.1.2024", "1/31/24", "2024-01-31 10:00:00", "2024-01-31T10:00", "10:30")


@pytest.mark.parametrize("cell", DATES)
def test_dates_are_refused_in_one_sentence(tmp_path, cell):
    file = write(tmp_path, "when,a,y\n" + f"{cell},3,4\n" * 9)
    with pytest.raises(UserError, match=f"column 'when' holds dates or times \\({cell}\\), .*--columns=-when"):
        sources.load("table", file, target="y")


def test_names_are_no_categories(tmp_path):
    text = "name,a,y\n" + "\n".join(f"tree{i},{i},{i}" for i in range(150))
    with pytest.raises(UserError, match=r"column 'name' has 150 different words, too many .*--columns=-name"):
        sources.load("table", write(tmp_path, text), target="y")


def test_a_new_table_is_matched_by_name_whatever_its_order(tmp_path):
    arrays = sources.load("table", write(tmp_path, TREES), target="species")
    order = ["note", "code", "colour", "height"]
    rows = [f"x,{i % 2},{('red', 'green', 'blue')[i % 3]},{i}.5" for i in range(20)]
    file = Path(write(tmp_path, "\n".join([",".join(order), *rows]), "new.csv"))
    new = table.new_rows(file, "species", arrays.columns, arrays.class_names, strict=True)
    np.testing.assert_array_equal(new.x_test[arrays.rows_test], arrays.x_test)
    assert set(new.y_test) == {-1}
    for old, to, says in (
        ("colour", "color", "has no column 'colour', which the run was trained on: add it; it has note, code, color"),
        ("red", "pink", r"row 0 \(from 0\), column 'colour' holds 'pink', which the run was not trained on: it knows"),
        (",4.5", ",", r"row 4 \(from 0\), column 'height' has no value, as 1 of 20 rows"),
        (",4.5", ",tall", "column 'height' holds 'tall', which is no number, beside numbers"),
    ):
        other = Path(write(tmp_path, file.read_text().replace(old, to), "other.csv"))
        with pytest.raises(UserError, match=says):
            table.new_rows(other, "species", arrays.columns, arrays.class_names, strict=True)


def test_a_parquet_is_the_same_table(tmp_path):
    species = [("oak", "ash")[i % 2] for i in range(20)]
    content = {
        "height": pyarrow.array([i + 0.5 for i in range(20)], pyarrow.float32()),
        "colour": pyarrow.array([("red", "green", "blue")[i % 3] for i in range(20)]).dictionary_encode(),
        "code": pyarrow.array([i % 2 for i in range(20)], pyarrow.int8()),
        "species": pyarrow.array(species, pyarrow.large_string()),
    }
    parquet.write_table(pyarrow.table(content), tmp_path / "trees.parquet")
    read = [
        sources.load("table", file, target="species")
        for file in (str(tmp_path / "trees.parquet"), write(tmp_path, TREES))
    ]
    np.testing.assert_array_equal(read[0].x_train, read[1].x_train)
    np.testing.assert_array_equal(read[0].y_test, read[1].y_test)
    when = pyarrow.array(range(20), pyarrow.timestamp("s"))
    parquet.write_table(pyarrow.table(content | {"when": when}), tmp_path / "when.parquet")
    with pytest.raises(UserError, match="column 'when' holds dates or times"):
        sources.load("table", str(tmp_path / "when.parquet"), target="species")


def test_the_encoding_is_kept_bit_for_bit():
    cells = {"a": np.array([0.1, np.nan, 3]), "b": np.array(["u", "v", ""])}
    fitted = columns.fit(cells, np.array([True, True, True]), "mean", (), "table")
    again = [Column.from_dict(json.loads(json.dumps(dataclasses.asdict(column)))) for column in fitted]
    assert tuple(again) == fitted
