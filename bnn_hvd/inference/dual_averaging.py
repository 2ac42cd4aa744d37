"""Dual averaging of the step size of each chain during burn-in (Hoffman & Gelman 2014, section 3.2.1).

Legend: M chains.
"""

from typing import NamedTuple

import tensorflow as tf

# gamma, t0 and kappa. Hoffman & Gelman take gamma = 0.05, for a thousand short trajectories of burn-in. Here burn-in is
# tens of long ones, whose acceptance is 0 or 1 where the step size is wrong by a factor of two. With 0.05 the step size
# then oscillates by a factor of ten and its average is too small; with 0.2 it leaves a bad initial value too slowly
# (docs/log.md).
SHRINKAGE, DELAY, DECAY = 0.1, 10.0, 0.75


class StepSize(NamedTuple):
    """Log step size, its average, and the mean error of the acceptance probability: [M] each."""

    log_now: tf.Tensor
    log_average: tf.Tensor
    error: tf.Tensor


def updated(now: StepSize, probability: tf.Tensor, target_accept: float, first: float, count: tf.Tensor) -> StepSize:
    """Return the step sizes after trajectory `count` (1, 2, ...) of burn-in (Hoffman & Gelman 2014, eq. 6).

    probability: acceptance probability of that trajectory, [M].
    first: initial step size; dual averaging shrinks towards ten times it.
    """
    t = tf.cast(count, tf.float32)
    rate, weight = 1.0 / (t + DELAY), t**-DECAY
    error = (1.0 - rate) * now.error + rate * (target_accept - probability)
    log_now = tf.math.log(10.0 * first) - tf.sqrt(t) / SHRINKAGE * error
    return StepSize(log_now, weight * log_now + (1.0 - weight) * now.log_average, error)
