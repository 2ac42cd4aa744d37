"""What is predicted: classes or a real number, by which likelihood, in which units."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bnn_hvd.config import TrainConfig
from bnn_hvd.errors import UserError


@dataclass(frozen=True)
class Units:
    """Real targets are learnt as (y - mean) / scale, with the moments of the training part; classes as they are."""

    mean: float = 0.0
    scale: float = 1.0

    def standardized(self, y: np.ndarray) -> np.ndarray:
        return y if self == Units() else ((y - self.mean) / self.scale).astype(np.float32)


def fit_units(y_train: np.ndarray, num_classes: int, standardize: bool = True) -> Units:
    """Return the units that targets are learnt in; a constant target keeps its scale. Whole numbers are as they are."""
    as_they_are = num_classes or not standardize or y_train.dtype.kind == "i"
    return Units() if as_they_are else Units(float(np.mean(y_train)), float(np.std(y_train)) or 1.0)


def kind_of(config: TrainConfig, num_classes: int, num_items: int = 0) -> str:
    """Return --likelihood, or what the data ask for: classes, what users have watched of items, or real targets.

    Raises:
      UserError: classes for a regression, real targets for a classification, or fixed noise where there is none.
    """
    kind = config.likelihood or ("categorical" if num_classes else "bernoulli" if num_items else "gaussian")
    if (kind == "categorical") != bool(num_classes) or (kind == "bernoulli") != bool(num_items):
        has = f"{num_classes} classes" if num_classes else "watched or not" if num_items else "real targets"
        raise UserError(f"--likelihood={kind} does not fit --dataset={config.dataset}, which has {has}: leave it out")
    if config.noise_scale and kind != "gaussian":
        raise UserError(f"--noise_scale={config.noise_scale} is of --likelihood=gaussian, not of {kind}: leave it out")
    return kind


def num_outputs(config: TrainConfig, num_classes: int, num_items: int = 0) -> tuple[int, bool]:
    """Return how many outputs the network has, and whether a noise that is learnt goes with them."""
    kind = kind_of(config, num_classes, num_items)
    return num_classes or num_items or (
        2 if kind == "heteroscedastic" else 1
    ), kind == "gaussian" and not config.noise_scale


def from_dict(described: dict[str, Any]) -> Units:
    """Return the units that data.json holds."""
    return Units(**described["target_units"])
