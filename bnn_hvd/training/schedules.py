"""The learning rate and the weight of the KL over training, as functions of the epoch.

Both depend on the (fractional) epoch alone. So a run that goes on with another number of ranks, and hence another
number of steps per epoch, keeps its schedule.
"""

import math

from bnn_hvd.config.schedule import ScheduleConfig

# Of the natural gradients of the standard deviations (chosen in docs/log.md):
SCALE_STEP = 16.0  # the rate of a step is this divided by the number of steps so far, and at most the next
MOST_SCALE_RATE = 0.1
GROWTH = 0.65  # part of training until which the standard deviations may not exceed a growing bound


def learning_rate(config: ScheduleConfig, epoch: float, progress: float, size: int) -> float:
    """Return the learning rate on `size` ranks, with its warm-up and its decay.

    The warm-up rises linearly from the rate of one rank to that of all: large batches need larger steps, and training
    diverges if it begins with these (Goyal et al. 2017).
    --lr_schedule=cosine multiplies by half a cosine that falls to 0 at the end (Loshchilov & Hutter 2017, without
    restarts), tail by a line that falls to 0 over the last half, step by --lr_step_factor after each --lr_step_epochs.

    progress: the part of training that is done.
    """
    factor = {"none": 1.0, "sqrt": math.sqrt(size), "linear": float(size)}[config.lr_scaling]
    scaled = config.learning_rate * (1 + (factor - 1) * _ramp(epoch, config.lr_warmup_epochs))
    if config.lr_schedule == "constant":
        return scaled
    if config.lr_schedule == "step":
        return scaled * config.lr_step_factor ** (epoch // config.lr_step_epochs)
    if config.lr_schedule == "tail":
        return scaled * _decay(progress, 0.5)
    return scaled * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def scale_rate(progress: float, step_part: float) -> float:
    """Return the rate of the natural gradients of the posterior's standard deviations (docs/maths.md).

    It falls with the number of steps, as in an average over the last sixteenth of them. Once the standard deviations
    are free to grow (`scale_ceiling`), it also falls by a line, to 0 at the end: the noise of the gradients averages
    out.

    progress: the part of training that is done. step_part: the part that one step is.
    """
    return min(MOST_SCALE_RATE, SCALE_STEP * step_part / (progress + step_part)) * _decay(progress, GROWTH)


def scale_ceiling(progress: float) -> float:
    """Return the largest standard deviation: a part of the way from the initial one to the prior's; from 1 on, any.

    The standard deviations grow while the means learn. If they grew first, the noise would drown what the data say of
    most weights, and these weights would stay at the prior.
    """
    return progress / GROWTH


def kl_weight(config: ScheduleConfig, epoch: float) -> float:
    """Return the weight of the KL: it rises linearly from 0 to --kl_weight in --kl_warmup_epochs."""
    return config.kl_weight * _ramp(epoch, config.kl_warmup_epochs)


def _decay(progress: float, start: float) -> float:
    """Return 1 until the part `start` of training, and from there a line to 0 at its end."""
    return min(1.0, max(0.0, 1.0 - progress) / (1.0 - start))


def _ramp(epoch: float, warmup_epochs: float) -> float:
    return min(1.0, epoch / warmup_epochs) if warmup_epochs else 1.0
