"""What must hold of a data set before anything is trained on it."""

import numpy as np

from bnn_hvd.data.arrays import Arrays
from bnn_hvd.errors import UserError

MOST_NAMED = 5  # classes in a note


def check(arrays: Arrays, source: str) -> None:
    """Raise UserError unless both parts have finite values and fit each other; the message names `source`."""
    _check_part("train", arrays.x_train, arrays.y_train, arrays.num_classes, source)
    _check_part("test", arrays.x_test, arrays.y_test, arrays.num_classes, source)
    for what, train, test in (
        ("examples of shape", list(arrays.x_train.shape[1:]), list(arrays.x_test.shape[1:])),
        ("type", arrays.x_train.dtype, arrays.x_test.dtype),  # as a rule, one part is 0..255 and the other 0..1
    ):
        if train != test:
            raise UserError(f"{source}: x_train has {what} {train} but x_test has {what} {test}: make them the same")


def notes(arrays: Arrays, source: str) -> tuple[str, ...]:
    """Return what a user may not expect of labels and columns, a sentence each."""
    if arrays.input_names:
        return (
            f"{source}: the inputs are {', '.join(arrays.input_names)}, all columns but the target: remove a column "
            "that is not known when predicting, as a second target",
        )
    if not arrays.num_classes:
        return ()
    absent = np.flatnonzero(np.bincount(arrays.y_train, minlength=arrays.num_classes) == 0)
    if absent.size and absent[0] == 0 and arrays.y_test.min() > 0:
        return (f"{source}: no example has the label 0: if the labels count from 1, subtract 1 from them",)
    if absent.size:
        named = ", ".join(arrays.class_names[i] for i in absent[:MOST_NAMED]) + ", ..." * (absent.size > MOST_NAMED)
        return (f"{source}: no training example has the class {named}: the network can't learn it",)
    return ()


def _check_part(part: str, x: np.ndarray, y: np.ndarray, num_classes: int, source: str) -> None:
    if x.size == 0 or y.size == 0:
        empty = f"x_{part}" if x.size == 0 else f"y_{part}"
        raise UserError(f"{source}: {empty} is empty: both parts need examples")
    if len(x) != len(y):
        raise UserError(f"{source}: x_{part} has {len(x)} examples but y_{part} has {len(y)} labels: make them equal")
    if num_classes and (y.min() < 0 or y.max() >= num_classes):
        wrong = y.min() if y.min() < 0 else y.max()
        raise UserError(
            f"{source}: y_{part} has the label {wrong}, out of range: number the classes 0 to {num_classes - 1}"
        )
    for name, values in (("x", x), ("y", y)):
        if not _finite(values):
            first = np.argwhere(~np.isfinite(values))[0].tolist()
            raise UserError(
                f"{source}: {name}_{part} is NaN or infinite, first at index {first}: remove or replace such values"
            )


def _finite(x: np.ndarray) -> bool:
    """Return whether all values are finite, from their sum: finite float32 can't overflow it in float64."""
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(np.sum(x, dtype=np.float64))) if x.dtype != np.uint8 else True
