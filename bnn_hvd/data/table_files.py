"""Tables in files -> columns: .csv with a header, .npz with an array per column, .parquet."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.data import formats
from bnn_hvd.data.columns import Cells, is_words
from bnn_hvd.data.labels import MISSING
from bnn_hvd.errors import UserError

SUFFIXES = (".csv", ".npz", ".parquet")


def read(file: Path) -> Cells:
    """Return the columns of a table, in the order of the file, which all have one length.

    A column of numbers is float64 [N] or [N, D], with NaN where it is missing (of an .npz: of the file's type); one of
    words, or of words and numbers, is str [N].

    Raises:
      UserError: the file is broken, or a column holds something else.
    """
    reader = {".npz": _npz, ".parquet": _parquet}.get(file.suffix.lower(), _csv)
    cells = reader(file)
    lengths = {name: len(values) for name, values in cells.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{file}: its columns have different lengths, {lengths}: make them equal")
    return cells


def _csv(file: Path) -> Cells:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:  # spreadsheets write a byte order mark first
            header, *rows = [row for row in csv.reader(lines) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} can't be read ({error}): save it as a comma-separated table in UTF-8") from None
    names = [name.strip() for name in header]
    if len(set(names)) < len(names):
        raise UserError(f"{file}: two columns have the same name in its header, {names}: rename one")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise UserError(
                f"{file}: row {number} (from 0) has {len(row)} cells, the header {len(names)}: make them equal"
            )
    return {name: _cells([row[i].strip() for row in rows]) for i, name in enumerate(names)}


def _cells(words: list[str]) -> np.ndarray:
    """Return cells as numbers if all that have a value are numbers, else as words."""
    try:
        return np.array([np.nan if word in MISSING else float(word) for word in words])
    except ValueError:
        return np.array(words, str)


def _npz(file: Path) -> Cells:
    cells, _ = formats.read_some(file)
    for name, values in cells.items():
        if values.ndim not in (1, 2) or values.dtype.kind not in "buifU" or (is_words(values) and values.ndim > 1):
            raise UserError(
                f"{file}: {name} is {values.dtype} {list(values.shape)}: save columns as numbers [N] or [N, D], or as "
                "words [N]"
            )
    return cells


def _parquet(file: Path) -> Cells:
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{file}: a .parquet is read by pyarrow: `pip install pyarrow`, or save it as .csv") from None
    with formats.reading(file):
        found = parquet.read_table(file)
        return {name: _parquet_column(found.column(name), name, file) for name in found.column_names}


def _parquet_column(column: Any, name: str, file: Path) -> np.ndarray:
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    values = column.to_pylist()
    if types.is_temporal(kind):
        return np.array(["" if value is None else str(value) for value in values], str)
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array(["" if value is None else value for value in values], str)
    if types.is_boolean(kind) and column.null_count == 0:
        return np.array(values, bool)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind):
        return np.array([np.nan if value is None else float(value) for value in values])
    raise UserError(f"{file}: column {name!r} is {column.type}: save columns as numbers or words, one in each cell")
