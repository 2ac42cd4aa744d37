"""The learning rate and the weight of the KL over training, as functions of the epoch.

Both depend on the (fractional) epoch alone. So a run that goes on with another number of ranks, and hence another
number of steps per epoch, keeps its schedule.
"""

import math

from bnn_hvd.config.schedule import ScheduleConfig


def learning_rate(config: ScheduleConfig, epoch: float, size: int, epochs: int | None) -> float:
    """Return the learning rate on `size` ranks, with its warm-up and its decay.

    The warm-up rises linearly from the rate of one rank to that of all: large batches need larger steps, and training
    diverges if it begins with these (Goyal et al. 2017).
    --lr_schedule=cosine multiplies by half a cosine that falls to 0 at the last epoch (Loshchilov & Hutter 2017,
    without restarts), step multiplies by --lr_step_factor after each --lr_step_epochs.

    epochs: of the whole run, which a cosine needs.
    """
    factor = {"none": 1.0, "sqrt": math.sqrt(size), "linear": float(size)}[config.lr_scaling]
    scaled = config.learning_rate * (1 + (factor - 1) * _ramp(epoch, config.lr_warmup_epochs))
    if config.lr_schedule == "constant":
        return scaled
    if config.lr_schedule == "step":
        return scaled * config.lr_step_factor ** (epoch // config.lr_step_epochs)
    assert epochs, "`resolve` asks for --epochs with a cosine"
    return scaled * 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / epochs)))


def kl_weight(config: ScheduleConfig, epoch: float) -> float:
    """Return the weight of the KL: it rises linearly from 0 to --kl_weight in --kl_warmup_epochs."""
    return config.kl_weight * _ramp(epoch, config.kl_warmup_epochs)


def _ramp(epoch: float, warmup_epochs: float) -> float:
    return min(1.0, epoch / warmup_epochs) if warmup_epochs else 1.0
