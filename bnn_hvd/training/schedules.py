"""The learning rate and the weight of the KL over training, as functions of the epoch.

Both depend on the (fractional) epoch alone. So a run that goes on with another number of ranks, and hence another
number of steps per epoch, keeps its schedule.
"""

import itertools
import math
from typing import NamedTuple

from bnn_hvd.config.schedule import ScheduleConfig

# Of the natural gradients of the standard deviations (chosen in docs/log.md):
SCALE_STEP = 16.0  # the rate of a step is this divided by the number of steps so far, and at most the next
MOST_SCALE_RATE = 0.1
GROWTH = 0.65  # part of training until which the standard deviations may not exceed a growing bound


class Place(NamedTuple):
    """The place of a step in the schedules; all as parts of the length of its round.

    in_round: the steps of the round before it, in [0, 1). in_all: the steps of the run before it. step: one step.
    """

    in_round: float
    in_all: float
    step: float


class Round(NamedTuple):
    """A part of training at whose end the learning rate has decayed, from its first to its last epoch (or step)."""

    first: int
    last: int


def rounds(total: int, until_converged: bool) -> list[Round]:
    """Return the rounds of a run of `total` epochs (or steps): one, or with --until_converged up to four.

    Each of these doubles the length of the run. So the whole costs at most twice as much as the part that is needed.
    """
    if not until_converged:
        return [Round(0, total)]
    ends = dict.fromkeys([0, *(-(-total // part) for part in (8, 4, 2, 1))])
    return [Round(*pair) for pair in itertools.pairwise(ends)]


def learning_rate(config: ScheduleConfig, epoch: float, place: Place, size: int) -> float:
    """Return the learning rate on `size` ranks, with its warm-up and its decay.

    The warm-up rises linearly from the rate of one rank to that of all: large batches need larger steps, and training
    diverges if it begins with these (Goyal et al. 2017).
    --lr_schedule=cosine multiplies by half a cosine that falls to 0 at the end (Loshchilov & Hutter 2017, without
    restarts), tail by a line that falls to 0 over the last half, step by --lr_step_factor after each --lr_step_epochs.
    """
    factor = {"none": 1.0, "sqrt": math.sqrt(size), "linear": float(size)}[config.lr_scaling]
    scaled = config.learning_rate * (1 + (factor - 1) * _ramp(epoch, config.lr_warmup_epochs))
    if config.lr_schedule == "constant":
        return scaled
    if config.lr_schedule == "step":
        return scaled * config.lr_step_factor ** (epoch // config.lr_step_epochs)
    if config.lr_schedule == "tail":
        return scaled * _decay(place.in_round, 0.5)
    return scaled * 0.5 * (1 + math.cos(math.pi * min(1.0, place.in_round)))


def scale_rate(place: Place) -> float:
    """Return the rate of the natural gradients of the posterior's standard deviations (docs/maths.md).

    It falls with the number of steps, as in an average over the last sixteenth of them. Towards the end of a round it
    also falls by a line, to 0: the noise of the gradients averages out.
    """
    return min(MOST_SCALE_RATE, SCALE_STEP * place.step / (place.in_all + place.step)) * _decay(place.in_round, GROWTH)


def scale_ceiling(place: Place) -> float:
    """Return the largest standard deviation: a part of the way from the initial one to the prior's; from 1 on, any.

    The standard deviations grow while the means learn. If they grew first, the noise would drown what the data say of
    most weights, and these weights would stay at the prior. From the second round on they are free.
    """
    return place.in_all / GROWTH


def kl_weight(config: ScheduleConfig, epoch: float) -> float:
    """Return the weight of the KL: it rises linearly from 0 to --kl_weight in --kl_warmup_epochs."""
    return config.kl_weight * _ramp(epoch, config.kl_warmup_epochs)


def _decay(progress: float, start: float) -> float:
    """Return 1 until the part `start` of training, and from there a line to 0 at its end."""
    return min(1.0, max(0.0, 1.0 - progress) / (1.0 - start))


def _ramp(epoch: float, warmup_epochs: float) -> float:
    return min(1.0, epoch / warmup_epochs) if warmup_epochs else 1.0
