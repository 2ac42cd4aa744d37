"""Gradient descent on a flat parameter vector, data-parallel: what most methods share."""

from collections.abc import Callable

import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import clock, compression, gradient_blocks
from bnn_hvd.inference.method import Controls, Picked, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.network import STATISTICS

NEW_STATISTICS = 0.1  # weight of a step's statistics of batch norms among the running ones


def descend(
    state: State,
    batch: Batch,
    controls: Controls,
    loss_of: Callable[[tf.Tensor, Batch, Controls], Scalars],
    optimizer: Optimizer,
    cluster: Cluster,
) -> Scalars:
    """Make one step down the gradient of `loss_of(params, batch, controls)["loss"]` ([], or [M]) over all ranks.

    The members' losses are added up: each depends on its own parameters alone. Returns the scalars of
    `loss_of`, averaged over the members and, together with the gradient, over the ranks, and two
    of this rank alone: `loss_here`, which names the rank where it stops being finite, and `communication_s`,
    the time from handing the gradient over to having the average: the all-reduce, and the wait for slower
    ranks.
    """
    theta = tf.convert_to_tensor(state.params)

    def part(batch: Batch, controls: Controls) -> tuple[list[tf.Tensor], Scalars]:
        gradient, scalars = gradient_of(lambda theta: loss_of(theta, batch, controls), theta)
        return [gradient, *([scalars.pop(STATISTICS)] if STATISTICS in scalars else [])], scalars

    (gradient, *seen), scalars = over_batch(cluster, batch, controls, part)
    for statistics in seen:
        average_in(state, statistics)
    optimizer.apply(state.params, state.slots, gradient, controls.learning_rate, state.step)
    state.step.assign_add(1)
    return scalars


def gradient_of(
    loss_of: Callable[[tf.Tensor], dict[str, tf.Tensor]], theta: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return the gradient of `loss_of(theta)["loss"]`, and all its scalars, averaged over the members.

    Statistics of batch norms, which are no scalars, stay each member's.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(theta)
        scalars = loss_of(theta)
    gradient = tape.gradient(scalars["loss"], theta)  # of their sum, where there are members
    return gradient, {k: value if k == STATISTICS else tf.reduce_mean(value) for k, value in scalars.items()}


def average_in(state: State, statistics: tf.Tensor) -> None:
    """Bring a step's statistics into the running ones: at first their mean, later one that forgets."""
    weight = tf.maximum(1.0 / tf.cast(state.step + 1, tf.float32), NEW_STATISTICS)
    running = state.slots[STATISTICS]
    running.assign_add(weight * (statistics - running))


def statistics_of(state: State | Picked) -> dict[str, tf.Tensor]:
    """Return the running statistics, as weights of the network; nothing without batch norms."""
    return {STATISTICS: tf.convert_to_tensor(state.slots[STATISTICS])} if STATISTICS in state.slots else {}


def over_batch(
    cluster: Cluster, batch: Batch, controls: Controls, part: gradient_blocks.Part
) -> tuple[list[tf.Tensor], Scalars]:
    """Return the averages over the global batch of what `part(batch, controls)` returns: tensors, and scalars.

    A rank's share of the batch is one part, or with --gradient_blocks several (inference/blocks.py). The scalars are
    those that `descend` returns.
    """
    if not cluster.gradient_blocks:
        return averaged(cluster, *part(batch, controls))
    mine = gradient_blocks.sums(cluster, batch, controls, part)
    everyone, communication_s = clock.timed(cluster, [mine.sum_1V], cluster.join)
    tensors, scalars = mine.averages(everyone[0])
    return tensors, scalars | {"communication_s": communication_s}


def averaged(cluster: Cluster, tensors: list[tf.Tensor], scalars: Scalars) -> tuple[list[tf.Tensor], Scalars]:
    """Return the averages over the ranks of gradients and scalars; the scalars as `descend` does."""
    stacked = tf.stack(list(scalars.values()))  # never compressed
    (*tensors, means), communication_s = clock.timed(
        cluster, [*tensors, stacked], lambda values: compression.mean(cluster, values[:-1], values[-1])
    )
    here = {"loss_here": scalars["loss"], "communication_s": communication_s}
    return tensors, {**dict(zip(scalars, tf.unstack(means), strict=True)), **here}
