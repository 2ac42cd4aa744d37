"""Columns of a table as inputs of a network: numbers as they are, words one-hot, missing values imputed if asked for.

What is learnt from the table (the words of a column, the mean of a column) is in data.json: a prediction encodes other
tables in the same way, whatever the order of their columns.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bnn_hvd.data.labels import MISSING
from bnn_hvd.errors import UserError

Cells = dict[str, np.ndarray]  # the columns of a table, by name: numbers [N] or [N, D], NaN if missing, or words [N]

MOST_CATEGORIES = 100  # of a column; more are names or keys, which a new row does not have
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([ T].*)?|\d{1,2}:\d{2}(:\d{2}.*)?"
)
IMPUTED: dict[str, Callable[..., np.ndarray]] = {"mean": np.nanmean, "median": np.nanmedian}  # by --missing


@dataclasses.dataclass(frozen=True)
class Column:
    """An input column, as the training part has it.

    categories: its words, each of which becomes an input that is 0 or 1; () for numbers. width: the inputs it becomes.
    fill: the values of these inputs where the column has none; () if a missing value is an error.
    """

    name: str
    categories: tuple[str, ...]
    width: int
    fill: tuple[float, ...]

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "Column":
        return cls(saved["name"], tuple(saved["categories"]), saved["width"], tuple(saved["fill"]))

    @property
    def input_names(self) -> Iterator[str]:
        """Yield the names of its inputs."""
        if self.categories:
            yield from (f"{self.name}={word}" for word in self.categories)
        else:
            yield from [self.name] if self.width == 1 else (f"{self.name}[{i}]" for i in range(self.width))


def fit(cells: Cells, train: np.ndarray, missing: str, categorical: Collection[str], source: str) -> tuple[Column, ...]:
    """Return the columns of a table as inputs.

    train: whether a row is in the training part, bool [N]. missing: how missing values are imputed (IMPUTED), with the
    statistics of the training part; "refuse": they are an error. categorical: columns of numbers that are categories.

    Raises:
      UserError: a column holds dates, numbers beside words, too many different words, or nothing.
    """
    return tuple(_fit(name, values, train, missing, name in categorical, source) for name, values in cells.items())


def _fit(name: str, values: np.ndarray, train: np.ndarray, missing: str, categorical: bool, source: str) -> Column:
    if is_words(values) or categorical:
        words = as_words(values)
        check_words(name, words, source, mixed=categorical)
        categories = tuple(sorted(set(words.tolist()) - MISSING))
        if not 0 < len(categories) <= MOST_CATEGORIES:
            raise UserError(
                f"{source}: column {name!r} has {len(categories)} different words, too "
                f"{'many' if categories else 'few'} to encode: leave it out with --columns=-{name}"
            )
        return Column(name, categories, len(categories), (0.0,) * (len(categories) * (missing in IMPUTED)))
    table = values.reshape(len(values), -1).astype(np.float64)
    if missing not in IMPUTED:
        return Column(name, (), table.shape[1], ())
    if np.isnan(table[train]).all(axis=0).any():
        raise UserError(
            f"{source}: column {name!r} has no value in the training part: leave it out with --columns=-{name}"
        )
    return Column(name, (), table.shape[1], tuple(IMPUTED[missing](table[train], axis=0).tolist()))


def encode(cells: Mapping[str, np.ndarray], columns: Sequence[Column], source: str) -> np.ndarray:
    """Return the inputs of the rows of a table, float32 [N, D]; the order of the table's columns does not matter.

    Raises:
      UserError: a column is missing, has a value that the encoding does not know, or lacks one.
    """
    if absent := [column.name for column in columns if column.name not in cells]:
        raise UserError(
            f"{source} has no column {', '.join(map(repr, absent))}, which the run was trained on: add it; it has "
            f"{', '.join(cells)}"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which `checks.check` reports
        return np.concatenate([_encode(cells[column.name], column, source) for column in columns], 1).astype(np.float32)


def _encode(values: np.ndarray, column: Column, source: str) -> np.ndarray:
    """Return the inputs of one column, float64 [N, width]."""
    if column.categories:
        words = as_words(values)
        unknown = ~np.isin(words, [*column.categories, *MISSING])
        if unknown.any():
            first = int(np.argmax(unknown))
            raise UserError(
                f"{source}: row {first} (from 0), column {column.name!r} holds {str(words[first])!r}, which the run "
                f"was not trained on: it knows {', '.join(column.categories)}; replace it, or remove the row"
            )
        x, missing = (words[:, None] == np.array(column.categories)).astype(np.float64), np.isin(words, [*MISSING])
    else:
        if is_words(values):
            check_words(column.name, values, source)
            word = str(next(word for word in values.tolist() if word not in MISSING))
            raise UserError(f"{source}: column {column.name!r} holds {word!r}, but the run was trained on its numbers")
        x = values.reshape(len(values), -1).astype(np.float64)
        if x.shape[1] != column.width:
            raise UserError(f"{source}: column {column.name!r} has {x.shape[1]} numbers a row, the run {column.width}")
        missing = np.isnan(x).any(axis=1)
    if missing.any() and not column.fill:
        raise UserError(
            f"{source}: row {int(np.argmax(missing))} (from 0), column {column.name!r} has no value, as "
            f"{missing.sum()} of {len(missing)} rows: train with --missing=mean or --missing=median, or leave "
            f"it out with --columns=-{column.name}"
        )
    rows = missing[:, None] if column.categories else np.isnan(x)
    return np.where(rows, np.array(column.fill), x) if column.fill else x


def is_words(values: np.ndarray) -> bool:
    return values.dtype.kind in "OU"


def as_words(values: np.ndarray) -> np.ndarray:
    """Return the cells of a column as words, str [N]; "" for a number that is missing."""
    if is_words(values):
        return np.char.strip(values.astype(str))
    known = np.isfinite(values.astype(np.float64))
    numbers = (f"{value:g}" if values.dtype.kind == "f" else str(value) for value in values.tolist())
    return np.where(known, np.array(list(numbers), str), "")


def check_words(name: str, words: np.ndarray, source: str, mixed: bool = False) -> None:
    """Raise UserError if a column of words holds dates or, unless `mixed` is allowed, numbers beside words."""
    known = [(row, word.strip()) for row, word in enumerate(words.tolist()) if word.strip() not in MISSING]
    if known and all(DATE.fullmatch(word) for _, word in known[:20]):
        raise UserError(
            f"{source}: column {name!r} holds dates or times ({known[0][1]}), which have no meaning to a network: turn "
            f"them into numbers (a year, days since a day, hours), or leave them out with --columns=-{name}"
        )
    if mixed:
        return
    stray = [(row, word) for row, word in known if not _is_number(word)]
    if stray and len(stray) < len(known):
        raise UserError(
            f"{source}: row {stray[0][0]} (from 0), column {name!r} holds {stray[0][1]!r}, which is no number, beside "
            f"numbers: replace it, or say that the column holds words, with --categorical={name}"
        )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
