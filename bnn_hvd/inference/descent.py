"""Gradient descent on a flat parameter vector, data-parallel: what point and vi share."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from bnn_hvd.cluster import Cluster
from bnn_hvd.inference import clock, compression
from bnn_hvd.inference.objective import Controls
from bnn_hvd.inference.optimizers import Optimizer


class State(tf.Module):
    """Everything that training changes.

    Attributes:
      params: what is learnt, one flat vector [P], or [M, P] for M members.
      slots: what the optimizer and the method keep beside it, by name; with M members, [M, ...].
      step: steps done, int64.
      example_axis: of the variables that have an axis of this rank's examples, which one that is, by name.
    """

    def __init__(self, params: tf.Tensor, optimizer: Optimizer | None = None):
        super().__init__()
        self.params = tf.Variable(params, name="params")
        self.slots = optimizer.slots(self.params) if optimizer else {}
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        self.example_axis: dict[str, int] = {}


def descend(
    state: State,
    loss_of: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    optimizer: Optimizer,
    controls: Controls,
    cluster: Cluster,
) -> dict[str, tf.Tensor]:
    """Make one step down the gradient of `loss_of(params)["loss"]` ([], or [M]), averaged over the ranks.

    The members' losses are added up: each depends on its own parameters alone. Returns the scalars of
    `loss_of`, averaged over the members and, together with the gradient, over the ranks, and two
    of this rank alone: `loss_here`, which names the rank where it stops being finite, and `communication_s`,
    the time from handing the gradient over to having the average: the all-reduce, and the wait for slower
    ranks.
    """
    gradient, scalars = gradient_of(loss_of, tf.convert_to_tensor(state.params))
    (gradient,), scalars = averaged(cluster, [gradient], scalars)
    optimizer.apply(state.params, state.slots, gradient, controls.learning_rate, state.step)
    state.step.assign_add(1)
    return scalars


def gradient_of(
    loss_of: Callable[[tf.Tensor], dict[str, tf.Tensor]], theta: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return the gradient of `loss_of(theta)["loss"]`, and all its scalars, averaged over the members."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(theta)
        scalars = loss_of(theta)
    gradient = tape.gradient(scalars["loss"], theta)  # of their sum, where there are members
    return gradient, {name: tf.reduce_mean(value) for name, value in scalars.items()}


def averaged(
    cluster: Cluster, tensors: list[tf.Tensor], scalars: dict[str, tf.Tensor]
) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
    """Return the averages over the ranks of gradients and scalars; the scalars as `descend` does."""
    (*tensors, means), communication_s = timed_mean(cluster, [*tensors, tf.stack(list(scalars.values()))])
    here = {"loss_here": scalars["loss"], "communication_s": communication_s}
    return tensors, {**dict(zip(scalars, tf.unstack(means), strict=True)), **here}


def timed_mean(cluster: Cluster, tensors: list[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return the averages over the ranks, and the seconds that they took; the last tensor is never compressed."""
    if cluster.size == 1:
        return tensors, tf.constant(0.0)
    with tf.control_dependencies(tensors):
        start = clock.seconds()
    with tf.control_dependencies([start]):
        *gradients, scalars = (tf.identity(tensor) for tensor in tensors)
        means = compression.mean(cluster, gradients, scalars)
    with tf.control_dependencies(means):
        return means, tf.cast(clock.seconds() - start, tf.float32)


def picked(state: State, index_S: tf.Tensor) -> Any:
    """Return a state to draw from, that has member index_S[s] in place s of its leading axis."""
    slots = {name: tf.gather(slot, index_S) for name, slot in state.slots.items()}
    return SimpleNamespace(params=tf.gather(state.params, index_S), slots=slots, step=state.step)
