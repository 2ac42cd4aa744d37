"""What changes over training: the learning rate and the weight of the KL, as functions of the epoch.

Both depend on the (fractional) epoch alone, so a run that goes on with another number of ranks, and
so another number of steps per epoch, keeps its schedule.
"""

import math

from bnn_hvd.config import TrainConfig


def learning_rate(config: TrainConfig, epoch: float, size: int) -> float:
    """Return the step size: scaled for `size` ranks, after a linear warm-up from that of one rank.

    Large batches need larger steps, and a warm-up to survive them (Goyal et al. 2017). cosine: times half
    a cosine that falls to 0 at the last epoch (Loshchilov & Hutter 2017, without restarts). step: times
    --lr_step_factor after each --lr_step_epochs.
    """
    factor = {"none": 1.0, "sqrt": math.sqrt(size), "linear": float(size)}[config.schedule.lr_scaling]
    scaled = config.schedule.learning_rate * (1 + (factor - 1) * _ramp(epoch, config.schedule.lr_warmup_epochs))
    if config.schedule.lr_schedule == "constant":
        return scaled
    if config.schedule.lr_schedule == "step":
        return scaled * config.schedule.lr_step_factor ** (epoch // config.schedule.lr_step_epochs)
    assert config.run.epochs, "`resolve` asks for --epochs with a cosine"
    return scaled * 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / config.run.epochs)))


def kl_weight(config: TrainConfig, epoch: float) -> float:
    """Return the weight of the KL: a linear rise from 0, then `--kl_weight`."""
    return config.schedule.kl_weight * _ramp(epoch, config.schedule.kl_warmup_epochs)


def _ramp(epoch: float, warmup_epochs: float) -> float:
    return min(1.0, epoch / warmup_epochs) if warmup_epochs else 1.0
