"""Flags of `train`: the data and how their targets are modelled."""

import dataclasses
from typing import Any

from bnn_hvd import registry
from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which data, how they are prepared, and the likelihood of their targets.

    options: of the data set that is chosen (config/options.py: DataOptions).
    """

    dataset: str = flag("digits", "data", "what to train on", choices=registry.DATASETS)
    data_dir: str = flag("", "data", "file or folder of the data set; digits needs none", identity=False)
    stage_dir: str = flag(
        "", "data", "node-local folder to copy the data to, once per host, before reading them", identity=False
    )
    standardize_targets: bool = flag(
        True, "data", "learn real targets as (y - mean) / standard deviation of the training part; what is written is "
        "in their own units either way",
    )  # fmt: skip
    standardize: str = flag(
        "channel", "data", "subtract the mean and divide by the standard deviation of the training part: "
        "per channel, per pixel (or feature), or not at all; unit: only divide by the largest value of all. Ratings "
        "have nothing to standardise",
        choices=("channel", "pixel", "none", "unit"),
    )  # fmt: skip
    augment: str = flag(
        "", "data", "crop (after a border of 4 zeros) or flip (left to right) training images at random, or both",
        choices=("crop", "flip", "crop_flip"),
    )  # fmt: skip
    batch_size: int = flag(64, "data", "examples per step and rank", minimum=1)
    likelihood: str = flag(
        "", "data", "of the targets (default: categorical for classes, gaussian for real targets, bernoulli for "
        "implicit ratings)", choices=("categorical", "gaussian", "heteroscedastic", "bernoulli"),
    )  # fmt: skip
    noise_scale: float = flag(
        0.0, "data", "standard deviation of gaussian noise, in units of the target; 0: learnt", minimum=0
    )
    options: Any = None
