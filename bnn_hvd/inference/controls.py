"""What Python passes to the compiled step."""

from typing import NamedTuple

import tensorflow as tf

Scalars = dict[str, tf.Tensor]  # what a step logs, by name; "loss", "loss_here" and "communication_s" among them


class Controls(NamedTuple):
    """The seed of a step, and its place in the schedules (training/schedules.py): scalars.

    scale_rate, scale_ceiling: of the posterior's standard deviations under vi and ivon. By default they do not change.
    """

    seed: tf.Tensor  # [2] int64, or [M, 2]; each rank its own, but of full-batch steps and gradient blocks one for all
    learning_rate: tf.Tensor
    kl_weight: tf.Tensor
    scale_rate: tf.Tensor | float = 0.0
    scale_ceiling: tf.Tensor | float = 1.0
