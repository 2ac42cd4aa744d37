"""Class labels as they are: words, numbers from any start, with gaps. A label's class number is its place in a list.

The list, the names of the classes, is in data.json: a prediction maps labels in the same way.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bnn_hvd.errors import UserError

UNKNOWN = -1  # the class number of an example without a label
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL"})  # words for a cell without a value
CHUNK = 1 << 20  # labels that are sorted at once
MOST_SINGLE = 20  # classes; more of them need two examples each on average


def class_names(labels: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return the names of the classes that occur, in ascending order, of numbers or else of words.

    labels: of one part each, by what a message calls them: [N] or [N, 1], or with further axes, as one per pixel.

    Raises:
      UserError: there are none, they are no words and no whole numbers, or so many that they can't be classes.
    """
    parts = [_checked(part, source).reshape(-1) for source, part in labels.items()]
    if not any(map(len, parts)):
        raise UserError(f"{next(iter(labels))} is empty: give at least one example")
    if all(part.dtype.kind in "iuf" for part in parts):
        numbers = np.unique(np.concatenate(_different(parts)).astype(np.float64))
        names = tuple(str(int(number)) for number in numbers[np.isfinite(numbers)])
    else:
        names = tuple(sorted({str(word) for values in _different(parts) for word in _words(values)} - MISSING))
    num_examples = sum(map(len, parts))
    if len(names) > max(MOST_SINGLE, num_examples // 2):
        raise UserError(
            f"{next(iter(labels))} has {len(names)} different labels among {num_examples} examples, too many for "
            "classes: a real target is learnt with --dataset=table, or --likelihood=gaussian"
        )
    return names


def encode(labels: np.ndarray, names: Sequence[str], source: str, strict: bool = True) -> np.ndarray:
    """Return the class number of each label, int32, in the shape of `labels` without a last axis of 1; UNKNOWN for a
    label that is not there.

    Whole numbers that are no names are class numbers themselves, as in a file beside a data set whose classes have
    names.
    strict: whether a label that is no class is an error; else it is UNKNOWN too.

    Raises:
      UserError: a label is no class.
    """
    shaped = _checked(labels, source)
    column = shaped.reshape(-1)
    words = {str(word) for values in _different([column]) for word in _words(values)}
    number_of = {name: number for number, name in enumerate(names)}
    if not words & number_of.keys():
        number_of = {str(number): number for number in range(len(names))}
    wrong = sorted(words - number_of.keys() - MISSING)
    if strict and wrong:
        raise UserError(
            f"{source} has the label {wrong[0]}, which is none of the {len(names)} classes of the run, "
            f"{', '.join(names[:5])}{', ...' * (len(names) > 5)}: give data with these classes, or without labels"
        )
    encoded = np.empty(len(column), np.int32)
    for part in _chunks(len(column)):
        values, each = np.unique(column[part], return_inverse=True)
        encoded[part] = np.array([number_of.get(str(word), UNKNOWN) for word in _words(values)], np.int32)[each]
    return encoded.reshape(shaped.shape)


def _different(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the different values of labels [N], those of each chunk."""
    return [np.unique(part[chunk]) for part in parts for chunk in _chunks(len(part))]


def _chunks(count: int) -> Iterator[slice]:
    """Yield slices of labels: to sort all of those that are as many as data on disk would need too much memory."""
    yield from (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _checked(labels: np.ndarray, source: str) -> np.ndarray:
    """Return labels of numbers or words, without a last axis of 1."""
    y = labels[..., 0] if labels.ndim > 1 and labels.shape[-1] == 1 else labels
    if y.ndim < 1:
        raise UserError(f"{source} is a single label: it must be [N], one for each example")
    if y.ndim == 2 and _is_one_hot(y):
        raise UserError(
            f"{source} has the shape {list(y.shape)} and is one-hot: it must be [N], one label per example, as "
            "y.argmax(1)"
        )
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    if y.dtype.kind not in "biufUO":
        raise UserError(f"{source} holds {y.dtype}: labels must be words or whole numbers")
    if y.dtype.kind == "f" and not np.all(np.isnan(y) | (y == np.floor(y)) & np.isfinite(y)):
        raise UserError(
            f"{source} has labels that are no whole numbers: a real target is learnt with --dataset=table, or "
            "--likelihood=gaussian"
        )
    return y


def _is_one_hot(y: np.ndarray) -> bool:
    """Return whether each row has one 1, and all else is 0."""
    return y.dtype.kind in "biuf" and y.shape[1] > 1 and bool(np.all((y != 0).sum(1) == 1) and y.max(initial=0) == 1)


def _words(labels_N: np.ndarray) -> np.ndarray:
    """Return the names of labels, as str [N]; "" where there is none."""
    if labels_N.dtype.kind == "f":
        known = np.isfinite(labels_N)
        return np.where(known, np.where(known, labels_N, 0).astype(np.int64).astype(str), "")
    return np.char.strip(labels_N.astype(str))
