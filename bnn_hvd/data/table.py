"""The user's own table for regression: a CSV file with a header, or an .npz with one array per column."""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bnn_hvd.config import lists
from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import FILES, REAL_TARGETS, DataOptions, HeldOutOptions
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.errors import UserError


@dataclasses.dataclass(frozen=True)
class TableOptions(HeldOutOptions, DataOptions):
    """Flags of a table: its target, and the size of its test part."""

    takes = FILES | REAL_TARGETS | {"standardize"}

    target: str = flag("", "data", "column of the table to predict, or several of them, a,b")


def table(path: str, *, target: str, test_fraction: float = 0.2) -> Arrays:
    """Return the column `target` as real values [N], and all others, in their order, as inputs [N, D].

    target: several names, as in a,b, give real values [N, T] in that order. A column whose own name has a comma is one.

    The test part is a fraction of the rows, rounded down, from a shuffle that is the same for every --seed. An .npz
    may have columns of shape [N] or [N, D].

    Raises:
      UserError: there is no such file or column, a cell is no number, or there are too few rows for two parts.
    """
    if not path:
        raise UserError("--dataset=table needs --data_dir=FILE: a .csv with a header, or an .npz of columns")
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise UserError(f"{file} is no file: --dataset=table needs --data_dir=FILE, a .csv or an .npz")
    columns = _npz(file) if file.suffix == ".npz" else _csv(file)
    if not target:
        raise UserError(f"--dataset=table needs --target, the column to predict; {file} has {', '.join(columns)}")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{file}: its columns have different lengths, {lengths}: make them equal")
    names = (target,) if target in columns else tuple(lists.words(target))
    y = _take_targets(columns, names, file)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which `checks.check` reports
        x, y = np.column_stack(list(columns.values())).astype(np.float32), y.astype(np.float32)
    found = _split(x, y, file, test_fraction)
    return dataclasses.replace(found, input_names=tuple(_names(columns)), target_names=names if len(names) > 1 else ())


def _take_targets(columns: dict[str, np.ndarray], names: tuple[str, ...], file: Path) -> np.ndarray:
    """Remove the target from the columns, and return it: [N], or [N, T] for several names."""
    for name in names:
        if name not in columns:
            raise UserError(f"{file} has no column {name!r} for --target; it has {', '.join(columns)}")
    found = [columns.pop(name) for name in names]
    if any(column.ndim != 1 for column in found) or not columns:
        raise UserError(f"{file}: a target must be a single column [N], beside at least one other")
    return found[0] if len(found) == 1 else np.column_stack(found)


def _names(columns: dict[str, np.ndarray]) -> Iterator[str]:
    """Yield the names of the inputs, in their order."""
    for name, column in columns.items():
        yield from [name] if column.ndim == 1 else [f"{name}[{i}]" for i in range(column.shape[1])]


def _split(x: np.ndarray, y: np.ndarray, file: Path, test_fraction: float) -> Arrays:
    num_test = int(test_fraction * len(y) + 1e-9)  # 0.29 of 100 rows are 29
    if not 0 < num_test < len(y):
        raise UserError(
            f"{file} has {len(y)} rows: --test_fraction={test_fraction} leaves none in one of the two parts; "
            "give another fraction, or more rows"
        )
    order = np.random.default_rng(0).permutation(len(y))
    test = np.zeros(len(y), bool)
    test[order[:num_test]] = True
    return Arrays(x[~test], y[~test], x[test], y[test], num_classes=0, class_names=())


def _csv(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:  # spreadsheets write a byte order mark first
            header, *rows = [row for row in csv.reader(lines) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} can't be read ({error}): save it as a comma-separated table in UTF-8") from None
    names = [name.strip() for name in header]
    if len(set(names)) < len(names):
        raise UserError(f"{file}: two columns have the same name in its header, {names}: rename one")
    values = np.zeros([len(rows), len(names)])
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise UserError(f"{file}: row {number + 1} has {len(row)} cells, the header {len(names)}: make them equal")
        values[number] = [_number(cell, file, number + 1, name) for cell, name in zip(row, names, strict=True)]
    return dict(zip(names, values.T, strict=True))


def _number(cell: str, file: Path, row: int, name: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise UserError(
            f"{file}: row {row}, column {name!r} holds {cell!r}, which is no number: replace it, or remove the row"
        ) from None


def _npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            columns = dict(arrays)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read ({error}): save it with numpy.savez, one array per column") from None
    for name, column in columns.items():
        if column.ndim not in (1, 2) or column.dtype.kind not in "buif":
            raise UserError(
                f"{file}: {name} is {column.dtype} {list(column.shape)}: save columns as numbers [N] or [N, D]"
            )
    return columns
