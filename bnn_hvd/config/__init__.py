"""Configurations: one frozen dataclass per verb. Every flag is generated from a field, with its default and help.

`resolve` fills in the fields without a fixed default (None or ""), so that `config.cfg` repeats the run. `identity`
marks the flags that define a run: a run can be continued only with the same values of these.
"""

from bnn_hvd.config.choices import default_options
from bnn_hvd.config.flagfile import expand, from_flagfile, read_flagfile, to_flagfile
from bnn_hvd.config.flags import Fields, flag, sections
from bnn_hvd.config.resolution import differences, fill, resolve, resolve_used
from bnn_hvd.config.studies import ChurnConfig, CompareConfig, ScaleConfig, StudyConfig
from bnn_hvd.config.train import TrainConfig, compose, to_flags, train_flags
from bnn_hvd.config.usage import with_own_default, without_use
from bnn_hvd.config.verbs import (
    ExactConfig,
    JobConfig,
    PlotConfig,
    PredictConfig,
    PrepareDataConfig,
    PruneConfig,
    flags_of,
    flags_of_runs,
    make,
)

__all__ = [
    "ChurnConfig",
    "CompareConfig",
    "ExactConfig",
    "Fields",
    "JobConfig",
    "PlotConfig",
    "PredictConfig",
    "PrepareDataConfig",
    "PruneConfig",
    "ScaleConfig",
    "StudyConfig",
    "TrainConfig",
    "compose",
    "default_options",
    "differences",
    "expand",
    "fill",
    "flag",
    "flags_of",
    "flags_of_runs",
    "from_flagfile",
    "make",
    "read_flagfile",
    "resolve",
    "resolve_used",
    "sections",
    "to_flagfile",
    "to_flags",
    "train_flags",
    "with_own_default",
    "without_use",
]
