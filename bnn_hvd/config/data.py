"""Flags of `train`: the data, and the likelihood of their targets."""

import dataclasses
from typing import Any

from bnn_hvd import registry
from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data set, its standardisation and augmentation, and the likelihood of its targets.

    options: those of the chosen data set (config/options.py: DataOptions).
    """

    dataset: str = flag("digits", "data", "the data set", choices=registry.DATASETS)
    data_dir: str = flag(
        "", "data", "file or folder of the data set; digits, sine and synthetic_ratings need none", identity=False,
        by=("data",),
    )  # fmt: skip
    stage_dir: str = flag(
        "", "data", "node-local folder: the data are copied to it, once per host, and read from there", identity=False,
        by=("data",),
    )  # fmt: skip
    standardize_targets: bool = flag(
        True, "data", "learn real targets as (y - mean) / standard deviation of the training part; results are in the "
        "units of the data either way", by=("data",),
    )  # fmt: skip
    standardize: str = flag(
        "channel", "data", "subtract the mean and divide by the standard deviation of the training part: "
        "per channel, per pixel (or feature), or not at all; unit: only divide by the largest absolute value. Ratings "
        "are never standardised",
        choices=("channel", "pixel", "none", "unit"), by=("data",),
    )  # fmt: skip
    augment: str = flag(
        "", "data", "crop (after padding by 4 zeros) or flip (left to right) training images at random, or both",
        choices=("crop", "flip", "crop_flip"), by=("data", "method"),
    )  # fmt: skip
    batch_size: int = flag(64, "data", "examples per step and rank", minimum=1, by=("method",))
    accumulate_steps: int = flag(
        1, "data", "micro-batches of --batch_size examples that make one step of a rank: their gradients are averaged "
        "before the ranks exchange them, once", minimum=1, by=("method",), without="gradient_blocks",
    )  # fmt: skip
    likelihood: str = flag(
        "", "data", "likelihood of the targets (default: categorical for classes, gaussian for real targets, bernoulli "
        "for implicit ratings)",
        choices=("categorical", "gaussian", "heteroscedastic", "gaussian_mixture", "bernoulli"),
    )  # fmt: skip
    components: int = flag(
        4, "data", "Normals with a full covariance in --likelihood=gaussian_mixture", minimum=1,
        needs="likelihood=gaussian_mixture",
    )  # fmt: skip
    noise_scale: float = flag(
        0.0, "data", "standard deviation of gaussian noise, in units of the target; 0: learnt", minimum=0,
        by=("data",),
    )  # fmt: skip
    options: Any = None

    @property
    def examples_per_rank(self) -> int:
        """The examples that a rank has in each step of training in mini-batches."""
        return self.batch_size * self.accumulate_steps
