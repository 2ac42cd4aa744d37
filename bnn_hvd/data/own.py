"""Data by a function of the user's own: --dataset=FILE.py:FUNCTION or MODULE:FUNCTION.

Its contract is in docs/data.md.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig
from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import OwnArraysOptions
from bnn_hvd.data import stored
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.own_arrays import WANTED, arrays_of, check_named
from bnn_hvd.errors import UserError
from bnn_hvd.run import records
from bnn_hvd.run.own_code import OwnCode

ORDER = ("x_train", "y_train", "x_test", "y_test")  # of a tuple


@dataclasses.dataclass(frozen=True)
class OwnDataOptions(OwnArraysOptions):
    """Flags of data by a function of the user's own."""

    dataset_args: str = flag("", "data", "keyword arguments of your own function, as in noise=0.1,name=river")


def code_of(config: TrainConfig) -> OwnCode | None:
    """Return the function that reads the data of a run, if it is one of the user's own."""
    if not registry.is_own(config.data.dataset):
        return None
    return OwnCode("dataset", config.data.dataset, config.folder / records.DATASET_CODE)


def read(code: OwnCode, data_dir: str, options: OwnDataOptions, likelihood: str) -> Arrays:
    """Return the arrays that the user's function returns for this --data_dir.

    Raises:
      UserError: it can't be called, or returns something else.
    """
    function = code.load(options.dataset_args, first=1)
    try:
        found = function(data_dir)
    except UserError:
        raise
    except Exception as error:
        raise code.error_in("the function", error) from error
    if isinstance(found, tuple) and len(found) in (2, 4):
        found = dict(zip(ORDER, found, strict=False))
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise code.error(
            f"the function returns {type(found).__name__}: it must return a dict of arrays, {', '.join(ORDER)} "
            "(without a test part, the first two), or a tuple of these"
        )
    parts = {name: _array(value, name) for name, value in found.items() if name in WANTED}
    check_named(parts, [name for name in found if name not in WANTED], code.value)
    return arrays_of(parts, code.value, options.validation_fraction, likelihood)


def _array(value: Any, name: str) -> Any:
    """Return an array in memory; inputs that are memory-mapped, or of HDF5, stay in their file."""
    in_file = isinstance(value, np.memmap) or type(value).__module__.startswith("h5py")
    return stored.StoredArray([value]) if in_file and name.startswith("x") else np.asarray(value)
