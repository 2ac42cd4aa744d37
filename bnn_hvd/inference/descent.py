"""Data-parallel gradient descent on a flat parameter vector, which most methods share."""

from collections.abc import Callable

import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import clock, compression, gradient_blocks, micro_batches
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.method import Picked, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.network import STATISTICS

NEW_STATISTICS = 0.1  # weight of a step's batch statistics in their running average


def descend(
    state: State,
    batch: Batch,
    controls: Controls,
    loss_of: Callable[[tf.Tensor, Batch, Controls], Scalars],
    optimizer: Optimizer,
    cluster: Cluster,
) -> Scalars:
    """Make one optimizer step on `loss_of(params, batch, controls)["loss"]`, [] or [M], averaged over all ranks.

    The losses of the members are added, since each depends on the parameters of its own member alone. Returns the
    scalars of `loss_of`, averaged over the members and, together with the gradient, over the ranks; and two
    scalars of this rank alone: `loss_here`, which tells on which rank the loss stops being finite, and
    `communication_s`, the seconds of the all-reduce, including the wait for slower ranks.
    """
    theta = tf.convert_to_tensor(state.params)

    def part(batch: Batch, controls: Controls) -> tuple[list[tf.Tensor], Scalars]:
        gradient, scalars = gradient_of(lambda theta: loss_of(theta, batch, controls), theta)
        return [gradient, *popped_statistics(scalars)], scalars

    (gradient, *seen), scalars = over_batch(cluster, batch, controls, part)
    for statistics in seen:
        average_in(state, statistics)
    seen_of_gradient = optimizer.apply(state.params, state.slots, gradient, controls, state.step)
    state.step.assign_add(1)
    return scalars | {name: tf.reduce_mean(value) for name, value in seen_of_gradient.items()}


def gradient_of(
    loss_of: Callable[[tf.Tensor], dict[str, tf.Tensor]], theta: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return the gradient of `loss_of(theta)["loss"]`, [P] or [M, P], and its scalars [], averaged over the members.

    Batch statistics, [V] or [M, V], are not averaged.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(theta)
        scalars = loss_of(theta)
    gradient = tape.gradient(scalars["loss"], theta)  # of the members' sum, where there are members
    return gradient, {k: value if k == STATISTICS else tf.reduce_mean(value) for k, value in scalars.items()}


def popped_statistics(scalars: Scalars) -> list[tf.Tensor]:
    """Take the batch statistics out of the scalars of a step; none without batch norms."""
    return [scalars.pop(STATISTICS)] if STATISTICS in scalars else []


def average_in(state: State, statistics: tf.Tensor) -> None:
    """Update the running batch statistics: a mean over the first steps, then an exponential moving average."""
    weight = tf.maximum(1.0 / tf.cast(state.step + 1, tf.float32), NEW_STATISTICS)
    running = state.slots[STATISTICS]
    running.assign_add(weight * (statistics - running))


def statistics_of(state: State | Picked) -> dict[str, tf.Tensor]:
    """Return the running batch statistics, as weights of the network; an empty dict without batch norms."""
    return {STATISTICS: tf.convert_to_tensor(state.slots[STATISTICS])} if STATISTICS in state.slots else {}


def over_batch(
    cluster: Cluster, batch: Batch, controls: Controls, part: gradient_blocks.Part
) -> tuple[list[tf.Tensor], Scalars]:
    """Return the averages over the global batch of what `part(batch, controls)` returns: tensors, and scalars.

    This rank's part of the batch is one call of `part`, or several: with --accumulate_steps (micro_batches.py) or
    --gradient_blocks (gradient_blocks.py). The scalars are those that `descend` returns.
    """
    if not cluster.gradient_blocks:
        return averaged(cluster, *micro_batches.mean(batch, controls, part))
    mine = gradient_blocks.sums(cluster, batch, controls, part)
    everyone, communication_s = clock.timed(
        cluster, [mine.sum_1V], lambda values: cluster.join(values, "gradient_blocks")
    )
    tensors, scalars = mine.averages(everyone[0])
    return tensors, scalars | {"communication_s": communication_s}


def averaged(cluster: Cluster, tensors: list[tf.Tensor], scalars: Scalars) -> tuple[list[tf.Tensor], Scalars]:
    """Return the averages over the ranks of tensors and scalars; the scalars are those that `descend` returns."""
    stacked = tf.stack(list(scalars.values()))  # never compressed
    (*tensors, means), communication_s = clock.timed(
        cluster, [*tensors, stacked], lambda values: compression.mean(cluster, values[:-1], values[-1])
    )
    here = {"loss_here": scalars["loss"], "communication_s": communication_s}
    return tensors, {**dict(zip(scalars, tf.unstack(means), strict=True)), **here}
