"""One frozen dataclass per verb; every flag is generated from a field, defaults and help included.

A field without a fixed default (None or "") is filled in by `resolve`, so that what is written to
`config.cfg` repeats the run. `identity` marks the flags that make a run what it is: a run directory
can be continued only with the same ones.
"""

from bnn_hvd.config.flagfile import from_flagfile, parse, to_flagfile
from bnn_hvd.config.flags import check, flag, sections
from bnn_hvd.config.model import ESTIMATORS
from bnn_hvd.config.resolution import DEFAULT_PARTICLES, differences, model_name, resolve, root_seed
from bnn_hvd.config.train import TrainConfig
from bnn_hvd.config.verbs import (
    ChurnConfig,
    JobConfig,
    PlotConfig,
    PredictConfig,
    PrepareDataConfig,
    PruneConfig,
    ScaleConfig,
)

__all__ = [
    "DEFAULT_PARTICLES",
    "ESTIMATORS",
    "ChurnConfig",
    "JobConfig",
    "PlotConfig",
    "PredictConfig",
    "PrepareDataConfig",
    "PruneConfig",
    "ScaleConfig",
    "TrainConfig",
    "check",
    "differences",
    "flag",
    "from_flagfile",
    "model_name",
    "parse",
    "resolve",
    "root_seed",
    "sections",
    "to_flagfile",
]
