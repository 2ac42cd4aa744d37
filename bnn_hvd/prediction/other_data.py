"""The data to predict: those of the run, or other data that fit its network."""

from bnn_hvd.config import TrainConfig
from bnn_hvd.data import sources
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.errors import UserError
from bnn_hvd.targets import Classes, ImplicitRatings


def load_like(trained: TrainConfig, known: Description, data_dir: str, same_classes: bool = True) -> Arrays:
    """Read `data_dir` in the format of the run's data, or with data_dir = "" the run's data.

    known: the description of the data that the run was trained on.
    same_classes: whether labels beyond the run's classes are an error.

    Raises:
      UserError: examples of another shape, another number of users or items, columns in another order, or labels
        beyond the run's classes; or the run's data have changed since.
    """
    if data_dir and trained.data.dataset == "digits":  # digits are built in: other data come as an .npz
        arrays = sources.load("npz", data_dir)
    else:
        arrays = sources.load_configured(trained.data, data_dir)
    source = data_dir or trained.data.data_dir
    _check_shape(arrays, known, source)
    _check_size(arrays, known, source)
    _check_columns(arrays, known, source)
    if same_classes:
        _check_labels(arrays, known, source)
    if not data_dir:
        _check_unchanged(arrays, known, source or trained.data.dataset)
    return arrays


def _check_unchanged(arrays: Arrays, known: Description, source: str) -> None:
    if Fingerprint.of(arrays) != known.fingerprint:
        raise UserError(
            f"{source} has changed since the run was trained on it: name the run's data by --data_dir, or these, as "
            "other data"
        )


def _check_shape(arrays: Arrays, known: Description, source: str) -> None:
    shape = arrays.x_test.shape[1:]
    if shape != known.example_shape:
        raise UserError(
            f"{source} has examples of shape {list(shape)}, the run was trained on {list(known.example_shape)}: "
            "give data of that shape"
        )


def _check_size(arrays: Arrays, known: Description, source: str) -> None:
    """Raise UserError for another number of users or items: each has parameters of its own."""
    target = arrays.target()
    if not (isinstance(target, ImplicitRatings) and isinstance(known.target, ImplicitRatings)):
        return
    here, there = (len(arrays.x_train), target.num_items), (known.num_train, known.target.num_items)
    if here != there:
        raise UserError(
            f"{source} has {here[0]} users and {here[1]} items, the run was trained on {there[0]} and {there[1]}: "
            "give data of the same users and items"
        )


def _check_columns(arrays: Arrays, known: Description, source: str) -> None:
    if arrays.input_names != known.input_names:
        raise UserError(
            f"{source} has the columns {', '.join(arrays.input_names)}, the run was trained on "
            f"{', '.join(known.input_names)}: bring them into that order"
        )


def _check_labels(arrays: Arrays, known: Description, source: str) -> None:
    if not (arrays.num_classes and isinstance(known.target, Classes)):
        return
    largest = int(arrays.y_test.max(initial=0))
    if largest >= known.target.count:
        raise UserError(
            f"{source} has the label {largest}, the run was trained on the classes 0 to {known.target.count - 1}: "
            "give data with these classes"
        )
