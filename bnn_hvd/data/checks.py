"""What must hold of a data set before anything is trained on it."""

import numpy as np

from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.labels import UNKNOWN
from bnn_hvd.data.stored import Inputs
from bnn_hvd.errors import UserError

MOST_NAMED = 5  # classes in a note
IMBALANCE = 3  # times as many examples of the largest class as of the smallest: then a note says so


def check(arrays: Arrays, source: str) -> None:
    """Raise UserError unless both parts have finite values and fit each other; the message names `source`.

    Values in files are not read here: that they are finite is found where they are.
    """
    _check_part("train", arrays.x_train, arrays.y_train, arrays.num_classes, source)
    _check_part("test", arrays.x_test, arrays.y_test, arrays.num_classes, source)
    for name, what, train, test in (
        ("x", "examples of shape", list(arrays.x_train.shape[1:]), list(arrays.x_test.shape[1:])),
        ("x", "type", arrays.x_train.dtype, arrays.x_test.dtype),  # as a rule, one part is 0..255 and the other 0..1
        ("y", "labels of shape", list(arrays.y_train.shape[1:]), list(arrays.y_test.shape[1:])),
    ):
        if train != test:
            raise UserError(
                f"{source}: {name}_train has {what} {train} but {name}_test has {what} {test}: make them the same"
            )


def notes(arrays: Arrays, source: str) -> tuple[str, ...]:
    """Return what a user may not expect of the labels, a sentence each."""
    if not arrays.num_classes:
        return ()
    unit = "label" if arrays.y_train.ndim > 1 else "example"
    count_C = np.bincount(arrays.y_train.reshape(-1), minlength=arrays.num_classes)
    absent = np.flatnonzero(count_C == 0)
    if absent.size:
        named = ", ".join(arrays.class_names[i] for i in absent[:MOST_NAMED]) + ", ..." * (absent.size > MOST_NAMED)
        return (f"{source}: no training {unit} has the class {named}: the network can't learn it",)
    least, most = int(count_C.argmin()), int(count_C.argmax())
    if count_C[most] > IMBALANCE * count_C[least]:
        always = float(np.mean(arrays.y_test == most))
        return (
            f"{source}: the classes are not balanced: {count_C[most]:,} training {unit}s of "
            f"{arrays.class_names[most]}, {count_C[least]:,} of {arrays.class_names[least]}; always to say "
            f"{arrays.class_names[most]} has an accuracy of {always:.2g} on the test part",
        )
    return ()


def _check_part(part: str, x: Inputs, y: np.ndarray, num_classes: int, source: str) -> None:
    if x.size == 0 or y.size == 0:
        empty = f"x_{part}" if x.size == 0 else f"y_{part}"
        raise UserError(f"{source}: {empty} is empty: both parts need examples")
    if len(x) != len(y):
        raise UserError(f"{source}: x_{part} has {len(x)} examples but y_{part} has {len(y)} labels: make them equal")
    if num_classes and y.min() == UNKNOWN:
        first = ", ".join(map(str, np.argwhere(y == UNKNOWN)[0]))
        raise UserError(f"{source}: y_{part} has no label for example {first}: remove the examples without one")
    if num_classes and (y.min() < 0 or y.max() >= num_classes):
        wrong = y.min() if y.min() < 0 else y.max()
        raise UserError(
            f"{source}: y_{part} has the label {wrong}, out of range: number the classes 0 to {num_classes - 1}"
        )
    for name, values in (("x", x), ("y", y)):
        if isinstance(values, np.ndarray):
            check_values(part, values, source, name)


def check_values(part: str, values: np.ndarray, source: str, name: str = "x") -> None:
    """Raise UserError unless all values of a part's inputs (x) or targets (y) are finite."""
    if not _finite(values):
        first = np.argwhere(~np.isfinite(values))[0].tolist()
        raise UserError(
            f"{source}: {name}_{part} is NaN or infinite, first at index {first}: remove or replace such values"
        )


def _finite(x: np.ndarray) -> bool:
    """Return whether all values are finite, from their sum: finite float32 can't overflow it in float64."""
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(np.sum(x, dtype=np.float64))) if x.dtype != np.uint8 else True
