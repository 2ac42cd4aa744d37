"""The description of a run's data, data.json: `predict` builds the network and its inputs from it."""

import dataclasses
from typing import Any

import numpy as np

from bnn_hvd import targets
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.columns import Column
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.targets import Target


@dataclasses.dataclass(frozen=True, eq=False)
class Description:
    """Shapes, counts, names and fingerprint of a data set, its target, and the statistics of its training part.

    class_counts: training labels of each class. columns: the encoding of a table's columns. input_dtype: the type of
    the inputs before they are standardised, uint8, float32 or int32. rows_held_out: whether the data came as one part,
    whose rows were split.
    """

    num_train: int
    num_test: int
    example_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    columns: tuple[Column, ...]
    input_dtype: str
    rows_held_out: bool
    target: Target
    standardizer: Standardizer
    fingerprint: Fingerprint

    @classmethod
    def of(cls, arrays: Arrays, target: Target, standardizer: Standardizer) -> "Description":
        return cls(
            len(arrays.x_train), len(arrays.x_test), arrays.x_train.shape[1:], arrays.class_names,
            class_counts(arrays), arrays.columns, arrays.x_train.dtype.name,
            arrays.rows_test is not None, target, standardizer,
            Fingerprint.of(arrays),
        )  # fmt: skip

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Description":
        """Return the description that `to_dict` wrote."""
        return cls(
            found["num_train"], found["num_test"], tuple(found["example_shape"]), tuple(found["class_names"]),
            tuple(found["class_counts"]), tuple(map(Column.from_dict, found["columns"])), found["input_dtype"],
            found["rows_held_out"], targets.from_dict(found), Standardizer.from_dict(found["standardizer"]),
            Fingerprint(**found["fingerprint"]),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the content of data.json."""
        return {
            "num_train": self.num_train, "num_test": self.num_test, "example_shape": list(self.example_shape),
            "class_names": list(self.class_names), "class_counts": list(self.class_counts),
            "columns": [dataclasses.asdict(column) for column in self.columns], "input_dtype": self.input_dtype,
            "rows_held_out": self.rows_held_out,
            "standardizer": self.standardizer.to_dict(), "fingerprint": self.fingerprint._asdict(),
            **targets.to_dict(self.target),
        }  # fmt: skip


def class_counts(arrays: Arrays) -> tuple[int, ...]:
    """Return the number of training examples of each class, () if the targets are no classes."""
    if not arrays.num_classes:
        return ()
    return tuple(np.bincount(arrays.y_train.reshape(-1), minlength=arrays.num_classes).tolist())
