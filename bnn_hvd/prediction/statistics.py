"""Statistics over posterior draws (or particles) besides their mean: --mode and --quantiles of `predict`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bnn_hvd import registry
from bnn_hvd.config import PredictConfig, lists

MODES: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "median": np.median,
    "std": np.std,
    "min": np.min,
    "max": np.max,
}


def key(name: str, axes: str) -> str:
    """Return the name of the array of a statistic: quantiles have an axis Q before the others."""
    return f"{name}_Q{axes}" if name.startswith("quantiles") else f"{name}_{axes}"


class Wanted(NamedTuple):
    """The statistics that the flags name besides the mean, which is always written."""

    modes: list[str]
    quantiles: list[float]

    @classmethod
    def of(cls, config: PredictConfig) -> "Wanted":
        """Read the flags.

        Raises:
          UserError: an unknown mode, or a quantile outside of [0, 1].
        """
        modes = [registry.known(MODES, mode, "--mode") for mode in lists.words(config.mode)]
        quantiles = lists.numbers(config.quantiles, "--quantiles", lambda q: 0 <= q <= 1, " in [0, 1]")
        return cls([mode for mode in dict.fromkeys(modes) if mode != "mean"], quantiles)

    @property
    def anything(self) -> bool:
        return bool(self.modes or self.quantiles)

    def statistics(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Return the statistics over the draws [S, ...] by name, each [...], and quantiles [Q, ...]."""
        found = {mode: MODES[mode](draws, axis=0) for mode in self.modes}
        if self.quantiles:
            found["quantiles"] = np.quantile(draws, self.quantiles, axis=0)
        return found

    def labels(self) -> dict[str, np.ndarray]:
        return {"quantiles_Q": np.array(self.quantiles)} if self.quantiles else {}
