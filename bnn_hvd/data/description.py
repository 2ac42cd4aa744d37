"""The description of a run's data, data.json: `predict` builds the network and its inputs from it."""

import dataclasses
from typing import Any

from bnn_hvd import targets
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.targets import Target


@dataclasses.dataclass(frozen=True, eq=False)
class Description:
    """Shapes, counts, names and fingerprint of a data set, its target, and the statistics of its training part."""

    num_train: int
    num_test: int
    example_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    input_names: tuple[str, ...]
    target: Target
    standardizer: Standardizer
    fingerprint: Fingerprint

    @classmethod
    def of(cls, arrays: Arrays, target: Target, standardizer: Standardizer) -> "Description":
        return cls(
            len(arrays.x_train), len(arrays.x_test), arrays.x_train.shape[1:], arrays.class_names, arrays.input_names,
            target, standardizer, Fingerprint.of(arrays),
        )  # fmt: skip

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Description":
        """Return the description that `to_dict` wrote."""
        return cls(
            found["num_train"], found["num_test"], tuple(found["example_shape"]), tuple(found["class_names"]),
            tuple(found["input_names"]), targets.from_dict(found), Standardizer.from_dict(found["standardizer"]),
            Fingerprint(**found["fingerprint"]),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the content of data.json."""
        return {
            "num_train": self.num_train, "num_test": self.num_test, "example_shape": list(self.example_shape),
            "class_names": list(self.class_names), "input_names": list(self.input_names),
            "standardizer": self.standardizer.to_dict(), "fingerprint": self.fingerprint._asdict(),
            **targets.to_dict(self.target),
        }  # fmt: skip
