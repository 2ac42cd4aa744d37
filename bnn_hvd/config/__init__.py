"""Configurations: one frozen dataclass per verb. Every flag is generated from a field, with its default and help.

`resolve` fills in the fields without a fixed default (None or ""), so that `config.cfg` repeats the run. `identity`
marks the flags that define a run: a run can be continued only with the same values of these.
"""

from bnn_hvd.config.flagfile import from_flagfile, parse, to_flagfile
from bnn_hvd.config.flags import Fields, check, fields_of, flag, sections
from bnn_hvd.config.resolution import DEFAULT_PARTICLES, differences, fill, model_name, resolve
from bnn_hvd.config.train import TrainConfig, compose, default_options, to_flags, train_flags
from bnn_hvd.config.verbs import (
    ChurnConfig,
    JobConfig,
    PlotConfig,
    PredictConfig,
    PrepareDataConfig,
    PruneConfig,
    ScaleConfig,
    flags_of,
    make,
)

__all__ = [
    "DEFAULT_PARTICLES",
    "ChurnConfig",
    "Fields",
    "JobConfig",
    "PlotConfig",
    "PredictConfig",
    "PrepareDataConfig",
    "PruneConfig",
    "ScaleConfig",
    "TrainConfig",
    "check",
    "compose",
    "default_options",
    "differences",
    "fields_of",
    "fill",
    "flag",
    "flags_of",
    "from_flagfile",
    "make",
    "model_name",
    "parse",
    "resolve",
    "sections",
    "to_flagfile",
    "to_flags",
    "train_flags",
]
