"""Bayesian neural networks, trained data-parallel on HPC clusters.

    import bnn_hvd
    run = bnn_hvd.load("runs/mnist")
    run.predict(x, num_draws=100).epistemic

The names below are imported when they are first used: `import bnn_hvd` alone takes milliseconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnn_hvd.api.predictions import ClassPrediction, RealPrediction
    from bnn_hvd.api.run import Run, load
    from bnn_hvd.api.train import train
    from bnn_hvd.errors import TrainingError, UserError

__version__ = "0.1.0"

PLACES = {  # of what `bnn_hvd.NAME` is
    "load": "bnn_hvd.api.run", "Run": "bnn_hvd.api.run", "ClassPrediction": "bnn_hvd.api.predictions",
    "RealPrediction": "bnn_hvd.api.predictions", "train": "bnn_hvd.api.train",
    "UserError": "bnn_hvd.errors", "TrainingError": "bnn_hvd.errors",
}  # fmt: skip
__all__ = ["ClassPrediction", "RealPrediction", "Run", "TrainingError", "UserError", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PLACES])
