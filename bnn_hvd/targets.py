"""Kinds of target: classes, real values in one column or several, and implicit ratings."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from bnn_hvd.errors import UserError


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of target: the number of outputs that a network needs for it, and its likelihoods.

    label_shape: of the labels of one example; () for one label, (H, W) for one per pixel, (T,) for one per time step.
    """

    likelihoods: ClassVar[tuple[str, ...]]  # the first is the default
    label_shape: tuple[int, ...] = dataclasses.field(default=(), kw_only=True)

    @property
    def labels_per_example(self) -> int:
        return math.prod(self.label_shape)

    def num_outputs(self, likelihood: str, components: int = 1) -> int:
        """Return O, the number of outputs of a network per label; components: of a mixture."""
        raise NotImplementedError

    def num_noise_scales(self, likelihood: str, noise_scale: float) -> int:
        """Return how many standard deviations of the noise are learnt, the same for all examples."""
        return 0

    def standardized(self, y: np.ndarray) -> np.ndarray:
        """Return y in the units in which it is learnt."""
        return y

    def likelihood(self, asked: str, noise_scale: float = 0.0) -> str:
        """Return the likelihood `asked` (--likelihood), or by default the first of this kind of target.

        Raises:
          UserError: `asked` is for another kind of target, or `noise_scale` is given for a likelihood without it.
        """
        kind = asked or self.likelihoods[0]
        if kind not in self.likelihoods:
            raise UserError(f"--likelihood={kind} does not fit these data, which have {self}: leave it out")
        if noise_scale and kind != "gaussian":
            raise UserError(f"--noise_scale={noise_scale} is of --likelihood=gaussian, not of {kind}: leave it out")
        return kind


@dataclasses.dataclass(frozen=True)
class Classes(Target):
    """A class number, 0 to count - 1, for each label; y is int32 [N, *label_shape]."""

    likelihoods = ("categorical",)
    count: int

    def num_outputs(self, likelihood: str, components: int = 1) -> int:
        return self.count

    def __str__(self) -> str:
        return f"{self.count} classes{_places(self.label_shape)}"


@dataclasses.dataclass(frozen=True)
class RealValues(Target):
    """A real number for each label; y is float32 [N, *label_shape].

    It is learnt as (y - mean) / scale, with the moments of the training part.
    """

    likelihoods = ("gaussian", "heteroscedastic")
    mean: float = 0.0
    scale: float = 1.0

    @classmethod
    def fitted(cls, y_train: np.ndarray) -> "RealValues":
        """Return the mean and the standard deviation of a training part; a constant target has the scale 1."""
        return cls(float(np.mean(y_train)), float(np.std(y_train)) or 1.0, label_shape=y_train.shape[1:])

    def num_outputs(self, likelihood: str, components: int = 1) -> int:
        return 2 if likelihood == "heteroscedastic" else 1

    def num_noise_scales(self, likelihood: str, noise_scale: float) -> int:
        return int(likelihood == "gaussian" and not noise_scale)

    def standardized(self, y: np.ndarray) -> np.ndarray:
        return y if (self.mean, self.scale) == (0.0, 1.0) else ((y - self.mean) / self.scale).astype(np.float32)

    def __str__(self) -> str:
        return f"real targets{_places(self.label_shape)}"


@dataclasses.dataclass(frozen=True)
class RealVectors(Target):
    """Real numbers in D named columns; y is float32 [N, D].

    Each column is learnt as (y - mean) / scale with its own moments of the training part.
    """

    likelihoods = ("gaussian", "heteroscedastic", "gaussian_mixture")
    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fitted(cls, names: tuple[str, ...], y_train: np.ndarray) -> "RealVectors":
        """Return mean and standard deviation of each column of a training part; a constant one has the scale 1."""
        scale_D = np.std(y_train, axis=0, dtype=np.float64)
        mean_D = np.mean(y_train, axis=0, dtype=np.float64)
        return cls(names, tuple(mean_D.tolist()), tuple(np.where(scale_D > 0, scale_D, 1.0).tolist()))

    @classmethod
    def unscaled(cls, names: tuple[str, ...]) -> "RealVectors":
        """Return columns that are learnt as they are."""
        return cls(names, (0.0,) * len(names), (1.0,) * len(names))

    def num_outputs(self, likelihood: str, components: int = 1) -> int:
        columns = len(self.names)
        if likelihood == "gaussian_mixture":
            return components * (1 + columns + columns * (columns + 1) // 2)
        return 2 * columns if likelihood == "heteroscedastic" else columns

    def num_noise_scales(self, likelihood: str, noise_scale: float) -> int:
        return len(self.names) if likelihood == "gaussian" else 0

    def standardized(self, y: np.ndarray) -> np.ndarray:
        return ((y - np.array(self.mean)) / np.array(self.scale)).astype(np.float32)

    def likelihood(self, asked: str, noise_scale: float = 0.0) -> str:
        if noise_scale:
            raise UserError(
                f"--noise_scale={noise_scale} is one number, and these data have {self}, each with noise of its own, "
                "which is learnt: leave it out"
            )
        return super().likelihood(asked)

    def __str__(self) -> str:
        return f"{len(self.names)} real targets ({', '.join(self.names)})"


@dataclasses.dataclass(frozen=True)
class ImplicitRatings(Target):
    """Whether a user has rated each item; y is int8 [N, I]: 1 (yes), -1 (no) or 0 (not known)."""

    likelihoods = ("bernoulli",)
    num_items: int

    def num_outputs(self, likelihood: str, components: int = 1) -> int:
        return self.num_items

    def __str__(self) -> str:
        return f"implicit ratings of {self.num_items} items"


def has_label(y: np.ndarray) -> np.ndarray:
    """Return which labels are there, in the shape of y: class numbers that are not negative, real values not NaN."""
    return y >= 0 if y.dtype.kind == "i" else ~np.isnan(y)


def _places(label_shape: tuple[int, ...]) -> str:
    return f" at {' x '.join(map(str, label_shape))} places" if label_shape else ""


def from_dict(described: dict[str, Any]) -> Target:
    """Return the target from the content of data.json."""
    label_shape = tuple(described["label_shape"])
    if described["num_classes"]:
        return Classes(described["num_classes"], label_shape=label_shape)
    if described["num_items"]:
        return ImplicitRatings(described["num_items"])
    if columns := described["target_columns"]:
        return RealVectors(**{key: tuple(values) for key, values in columns.items()})
    return RealValues(**described["target_units"], label_shape=label_shape)


def to_dict(target: Target) -> dict[str, Any]:
    """Return the keys of data.json that describe a target."""
    units = target if isinstance(target, RealValues) else RealValues()
    columns = ("names", "mean", "scale") if isinstance(target, RealVectors) else ()
    return {
        "num_classes": target.count if isinstance(target, Classes) else 0,
        "num_items": target.num_items if isinstance(target, ImplicitRatings) else 0,
        "target_units": {"mean": units.mean, "scale": units.scale},
        "target_columns": {name: getattr(target, name) for name in columns},
        "label_shape": list(target.label_shape),
    }
