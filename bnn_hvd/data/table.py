"""The user's own table, for regression or classification: a .csv with a header, an .npz or a .parquet of columns."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnn_hvd.config import lists
from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import FILES, REAL_TARGETS, DataOptions, HeldOutOptions
from bnn_hvd.data import columns as encoding
from bnn_hvd.data import labels, split, table_files
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.columns import Cells, Column, check_words, is_words
from bnn_hvd.errors import UserError


@dataclasses.dataclass(frozen=True)
class TableOptions(HeldOutOptions, DataOptions):
    """Flags of a table: its target, its inputs, and the size of its test part."""

    takes = FILES | REAL_TARGETS | {"standardize"}
    by_likelihood = True

    target: str = flag("", "data", "column of the table to predict; words are classes, and numbers are real values, or "
                       "classes with --likelihood=categorical. Or several columns of numbers, a,b")  # fmt: skip
    columns: str = flag(
        "", "data", "columns of the table that are inputs, a,b, or that are not, -a,-b (default: all but the target)"
    )
    categorical: str = flag(
        "", "data", "columns of numbers that are categories, a,b: codes. Columns of words always are; each category "
        "becomes an input that is 0 or 1",
    )  # fmt: skip
    missing: str = flag(
        "refuse", "data", "what an empty cell of an input becomes: an error, or the mean or the median of the column "
        "in the training part; for categories, none of them", choices=("refuse", "mean", "median"),
    )  # fmt: skip


def table(
    path: str,
    *,
    target: str,
    columns: str = "",
    categorical: str = "",
    missing: str = "refuse",
    test_fraction: float = 0.2,
    likelihood: str = "",
) -> Arrays:
    """Return the column `target` as classes or real values [N], and the other columns, encoded, as inputs [N, D].

    Several targets are real values [N, T], in the order of their names.

    The arguments are the flags of `TableOptions`; the test part is that of split.test_rows.

    Raises:
      UserError: there is no such file or column, a cell can't be learnt from, or there are too few rows for two parts.
    """
    file = table_file(path)
    cells = table_files.read(file)
    targets = target_names(cells, target)
    check_target(cells, targets, file)
    names, y = encode_targets(cells, targets, file, likelihood)
    inputs = choose(cells, targets, columns, file)
    test = split.test_rows(len(y), test_fraction)
    if test.all() or not test.any():
        raise UserError(
            f"{file} has {len(y)} rows: --test_fraction={test_fraction} leaves none in one of the two parts; "
            "give another fraction, or more rows"
        )
    fitted = encoding.fit(inputs, ~test, missing.lower(), lists.words(categorical), str(file))
    x = encoding.encode(inputs, fitted, str(file))
    return Arrays(
        x[~test], y[~test], x[test], y[test], num_classes=len(names), class_names=names, columns=fitted,
        target_names=targets if len(targets) > 1 else (), rows_test=np.flatnonzero(test),
        notes=_notes(fitted, columns, file),
    )  # fmt: skip


def new_rows(path: Path, target: str, known: Sequence[Column], class_names: Sequence[str], strict: bool) -> Arrays:
    """Return all rows of another table as the test part, encoded as the columns of the run; the training part is empty.

    Columns are found by their names, and others are left out. A row without a target has -1 or NaN, and so have all of
    them in a table without this column.
    strict: whether a target that is none of the classes is an error.

    Raises:
      UserError: the table can't be read, lacks an input, or holds what the encoding does not know.
    """
    cells = table_files.read(path)
    x, source = encoding.encode(cells, known, str(path)), str(path)
    if not len(x):
        raise UserError(f"{path} has no rows: give a table with at least one")
    targets = target_names(cells, target)
    if len(targets) > 1:
        y = np.column_stack([_real_or_unknown(cells, name, len(x), source) for name in targets])
    elif target not in cells or cells[target].ndim != 1:
        y = np.full(len(x), labels.UNKNOWN, np.int32) if class_names else np.full(len(x), np.nan, np.float32)
    elif class_names:
        y = labels.encode(cells[target], class_names, f"{source}: column {target!r}", strict)
    else:
        y = _real(cells[target], target, source)
    several = targets if len(targets) > 1 else ()
    return Arrays(x[:0], y[:0], x, y, len(class_names), tuple(class_names), tuple(known), several)


def table_file(path: str) -> Path:
    """Return the file of --data_dir; UserError if there is none."""
    if not path:
        raise UserError("--dataset=table needs --data_dir=FILE: a .csv with a header, a .parquet or an .npz of columns")
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise UserError(f"{file} is no file: --dataset=table needs --data_dir=FILE, a .csv, a .parquet or an .npz")
    return file


def target_names(cells: Cells, asked: str) -> tuple[str, ...]:
    """Return the columns that --target names: one, whose own name may have a comma, or several, as in a,b."""
    return (asked,) if asked in cells else tuple(lists.words(asked))


def check_target(cells: Cells, targets: Sequence[str], file: Path) -> None:
    """Raise UserError unless --target names columns."""
    if not targets:
        raise UserError(f"--dataset=table needs --target, the column to predict; {file} has {', '.join(cells)}")
    for name in targets:
        if name not in cells:
            raise UserError(f"{file} has no column {name!r} for --target; it has {', '.join(cells)}")
    if any(cells[name].ndim != 1 for name in targets) or len(cells) == len(targets):
        raise UserError(f"{file}: the target must be a single column [N], beside at least one other")


def encode_targets(
    cells: Cells, targets: Sequence[str], file: Path, likelihood: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return `encode_target` of the target, or of several () and real values [N, T].

    Raises:
      UserError: as `encode_target`, or one of several targets is classes.
    """
    found = [encode_target(cells[name], name, file, likelihood) for name in targets]
    if len(found) == 1:
        return found[0]
    for name, (classes, _) in zip(targets, found, strict=True):
        if classes:
            raise UserError(f"{file}: column {name!r} holds classes: several targets must all be numbers")
    return (), np.column_stack([y for _, y in found])


def encode_target(values: np.ndarray, name: str, file: Path, likelihood: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the classes, () for real values, and the target of each row, int32 or float32 [N].

    Raises:
      UserError: a row has none, or it is neither classes nor real values.
    """
    source = f"{file}: column {name!r}"
    if is_words(values):
        check_words(name, values, str(file), mixed=likelihood == "categorical")
    if is_words(values) and likelihood not in ("", "categorical"):
        raise UserError(f"{source} holds words, which have no --likelihood={likelihood}: leave it out")
    if is_words(values) or values.dtype.kind == "b" or likelihood == "categorical":
        names = labels.class_names({source: values})
        y, absent = labels.encode(values, names, source), labels.UNKNOWN
        missing = y == absent
    else:
        names, y = (), _real(values, name, str(file))
        missing = np.isnan(y)
    if missing.any():
        raise UserError(
            f"{source}, the target, has no value in row {int(np.argmax(missing))} (from 0), as {missing.sum()} of "
            f"{len(y)} rows: remove these rows, and predict them afterwards"
        )
    return names, y


def _real(values: np.ndarray, name: str, source: str) -> np.ndarray:
    if is_words(values):
        raise UserError(f"{source}: column {name!r} holds words, but the run was trained on its numbers")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which `checks.check` reports
        return values.astype(np.float32)


def _real_or_unknown(cells: Cells, name: str, count: int, source: str) -> np.ndarray:
    known = name in cells and cells[name].ndim == 1
    return _real(cells[name], name, source) if known else np.full(count, np.nan, np.float32)


def choose(cells: Cells, targets: Sequence[str], asked: str, file: Path) -> Cells:
    """Return the input columns that --columns asks for, in the order of the table."""
    words = lists.words(asked)
    without = [word[1:] for word in words if word.startswith("-") and word not in cells]
    wanted = [word for word in words if word in cells or not word.startswith("-")]
    if unknown := [word for word in [*wanted, *without] if word not in cells]:
        raise UserError(f"{file} has no column {unknown[0]!r} for --columns; it has {', '.join(cells)}")
    if set(targets) & set(wanted):
        raise UserError(f"--columns={asked} names the target: it can't be an input too; leave it out")
    kept = [name for name in cells if name not in targets and name not in without and (name in wanted or not wanted)]
    if not kept:
        raise UserError(f"--columns={asked} leaves no input: name at least one column")
    return {name: cells[name] for name in kept}


def _notes(fitted: Sequence[Column], asked: str, file: Path) -> tuple[str, ...]:
    """Return what a user may not expect of the inputs, a sentence each."""
    notes = []
    if not asked:
        notes.append(
            f"{file}: the inputs are {', '.join(column.name for column in fitted)}, all columns but the target: leave "
            "out one that is not known when predicting, as a second target, with --columns=-NAME"
        )
    if words := [f"{column.name} ({len(column.categories)})" for column in fitted if column.categories]:
        notes.append(f"{file}: columns of categories, each an input that is 0 or 1: {', '.join(words)}")
    return tuple(notes)
