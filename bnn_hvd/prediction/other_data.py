"""The data to predict: those of the run, or other data that fit its network."""

from bnn_hvd import targets
from bnn_hvd.config import TrainConfig
from bnn_hvd.data import new_data, sources
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.errors import UserError
from bnn_hvd.targets import ImplicitRatings


def load_like(trained: TrainConfig, known: Description, data_dir: str, same_classes: bool = True) -> Arrays:
    """Read the data to predict, with or without labels, or with data_dir = "" the run's data.

    known: the description of the data that the run was trained on.
    same_classes: whether labels beyond the run's classes are an error.

    Raises:
      UserError: they do not fit the run's network, or have other users or items; or the run's data have changed since.
    """
    if data_dir:
        arrays = new_data.read(trained, known, data_dir, strict=same_classes)
    else:
        arrays = sources.load_configured(trained)
        _check_unchanged(arrays, known, trained.data.data_dir or trained.data.dataset)
    _check_size(arrays, known, data_dir or trained.data.data_dir)
    return arrays


def load_labelled(trained: TrainConfig, known: Description, data_dir: str) -> Arrays:
    """Read data as `load_like`, to score them: UserError if an example has no label."""
    arrays = load_like(trained, known, data_dir)
    if not isinstance(known.target, ImplicitRatings) and not targets.has_label(arrays.y_test).all():
        raise UserError(f"{data_dir} has examples without a label: give data with labels, which can be scored")
    return arrays


def _check_unchanged(arrays: Arrays, known: Description, source: str) -> None:
    if Fingerprint.of(arrays) != known.fingerprint:
        raise UserError(
            f"{source} has changed since the run was trained on it: name the run's data by --data_dir, or these, as "
            "other data"
        )


def _check_size(arrays: Arrays, known: Description, source: str) -> None:
    """Raise UserError for another number of users or items: each has parameters of its own."""
    target = arrays.target(standardize=False)  # the training part may be empty
    if not (isinstance(target, ImplicitRatings) and isinstance(known.target, ImplicitRatings)):
        return
    here, there = (len(arrays.x_train), target.num_items), (known.num_train, known.target.num_items)
    if here != there:
        raise UserError(
            f"{source} has {here[0]} users and {here[1]} items, the run was trained on {there[0]} and {there[1]}: "
            "give data of the same users and items"
        )
