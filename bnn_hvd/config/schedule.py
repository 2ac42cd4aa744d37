"""Flags of `train`: the optimizer, its learning rate, and the weight of the KL."""

import dataclasses

from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """The optimizer, and the schedules of the learning rate and of the weight of the KL (training/schedules.py)."""

    kl_weight: float = flag(1.0, "schedule", "weight of the KL divergence (1: the ELBO)", minimum=0, by=("method",))
    kl_warmup_epochs: float = flag(
        0.0, "schedule", "epochs over which the weight of the KL rises from 0, linearly", minimum=0, by=("method",)
    )
    optimizer: str = flag("adam", "schedule", "update rule", choices=("adam", "sgd"), by=("method",))
    learning_rate: float = flag(
        1e-3, "schedule", "learning rate for one rank (see --lr_scaling)", minimum=0, by=("method",)
    )
    momentum: float = flag(
        0.9, "schedule", "momentum of sgd, in [0, 1)", minimum=0, below=1, by=("method",), needs="optimizer=sgd"
    )
    lr_scaling: str = flag(
        "linear", "schedule", "how the learning rate grows with the number of ranks",
        choices=("linear", "sqrt", "none"), by=("method",),
    )  # fmt: skip
    lr_warmup_epochs: float = flag(
        0.0, "schedule", "epochs over which the learning rate rises from that of one rank, linearly", minimum=0,
        by=("method",),
    )  # fmt: skip
    lr_schedule: str = flag(
        "constant", "schedule", "constant; cosine: half a cosine to 0 at the end; tail: constant, then a line to 0 "
        "over the last half; step: falls every --lr_step_epochs", choices=("constant", "cosine", "tail", "step"),
        by=("method",),
    )  # fmt: skip
    lr_step_epochs: int = flag(
        30, "schedule", "epochs between falls of --lr_schedule=step", minimum=1, by=("method",),
        needs="lr_schedule=step",
    )  # fmt: skip
    lr_step_factor: float = flag(
        0.1, "schedule", "factor of the learning rate at each fall of --lr_schedule=step", minimum=0, by=("method",),
        needs="lr_schedule=step",
    )  # fmt: skip
