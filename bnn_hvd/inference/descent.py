"""Gradient descent on a flat parameter vector, data-parallel: what point and vi share."""

from collections.abc import Callable

import tensorflow as tf

from bnn_hvd.cluster import Cluster
from bnn_hvd.inference.objective import Controls
from bnn_hvd.inference.optimizers import Optimizer


class State(tf.Module):
    """Everything that training changes.

    Attributes:
      params: what is learnt, one flat vector.
      slots: what the optimizer keeps beside it.
      step: steps done, int64.
    """

    def __init__(self, params: tf.Tensor, optimizer: Optimizer):
        super().__init__()
        self.params = tf.Variable(params, name="params")
        self.slots = optimizer.slots(self.params)
        self.step = tf.Variable(0, dtype=tf.int64, name="step")


def descend(
    state: State,
    loss_of: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    optimizer: Optimizer,
    controls: Controls,
    cluster: Cluster,
) -> dict[str, tf.Tensor]:
    """Make one step down the gradient of `loss_of(params)["loss"]`, averaged over the ranks.

    Returns the scalars of `loss_of`, averaged over the ranks in the same all-reduce as the gradient,
    and `loss_here`, this rank's own loss, which names the rank where it stops being finite.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(state.params)
        scalars = loss_of(tf.convert_to_tensor(state.params))
    gradient = tape.gradient(scalars["loss"], state.params)
    gradient, means = cluster.mean([gradient, tf.stack(list(scalars.values()))])
    optimizer.apply(state.params, state.slots, gradient, controls.learning_rate, state.step)
    state.step.assign_add(1)
    return {**dict(zip(scalars, tf.unstack(means), strict=True)), "loss_here": scalars["loss"]}


def batch_accuracy(logits_NC: tf.Tensor, y_N: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(tf.math.in_top_k(y_N, logits_NC, 1), tf.float32))
