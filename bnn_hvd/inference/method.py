"""The interface of a method of inference, and what it is handed. Read this first, then point.py, then vi.py.

A method approximates the posterior of a network's weights. It is one file here and one row in registry.METHODS.

**Members.** A method also trains M copies of the network at once, as particles or as the members of an ensemble.
The only difference is an axis: seeds are [M, 2] instead of [2], and everything in the state has the leading axis M,
but for the step counter. Methods therefore work on the last axis of theta [..., P].

Legend: P parameters, M members, S draws, N examples, O outputs, B parameters with a scale.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.network import STATISTICS, Network

Forward = Callable[[tf.Tensor], tf.Tensor]  # x [N, ...] -> outputs [S, N, O]
Scalars = dict[str, tf.Tensor]  # what a step logs, by name; "loss", "loss_here" and "communication_s" among them


class Controls(NamedTuple):
    """What the host decides for one step."""

    seed: tf.Tensor  # [2] int64, of this rank's noise; [M, 2] for M members
    learning_rate: tf.Tensor
    kl_weight: tf.Tensor


class Draws(NamedTuple):
    """Which posterior draws to make: the same ones on every rank, whatever draws are beside them."""

    index: tf.Tensor  # [S] int32, counting from 0
    seeds: tf.Tensor  # [S, 2] int64


class State(tf.Module):
    """Everything that training changes.

    Attributes:
      params: what is learnt, one flat vector [P], or [M, P] for M members.
      slots: what the optimizer and the method keep beside it, by name; with M members, [M, ...].
      step: steps done, int64.
      example_axis: of the variables that have an axis of this rank's examples, which one that is, by name.
    """

    def __init__(self, params: tf.Tensor, optimizer: Optimizer | None = None, network: Network | None = None):
        super().__init__()
        self.params = tf.Variable(params, name="params")
        self.slots = optimizer.slots(self.params) if optimizer else {}
        if network and network.initial_statistics.size:
            each = tf.broadcast_to(network.initial_statistics, [*params.shape[:-1], network.initial_statistics.size])
            self.slots[STATISTICS] = tf.Variable(each, name="batch_statistics")
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        self.example_axis: dict[str, int] = {}


class Picked(NamedTuple):
    """A state to draw from: as `State`, with one picked member for each of S draws in the place of the M members."""

    params: tf.Tensor
    slots: dict[str, tf.Tensor]
    step: tf.Tensor


class Marginals(NamedTuple):
    """What is known of each weight: its mean, and the standard deviation of the first B, where there is one."""

    loc_P: np.ndarray
    scale_B: np.ndarray


class Method(Protocol):
    """Made from (network, likelihood, num_train, cluster, config); nothing in it changes, but for `optimizer`.

    optimizer: None for a method that has an update rule of its own.
    """

    network: Network
    likelihood: Likelihood
    optimizer: Optimizer | None = None

    def init(self, seed: np.ndarray) -> State:
        """Return the state that training starts with, for a seed [2] or [M, 2]; equal on every rank."""

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        """Make one step of training: change `state`, and nothing else. `batch` is this rank's part of it.

        Communicates in sight, by the cluster. Where ranks train the same, the state is equal on them afterwards.
        """

    def draw(self, state: State | Picked, draws: Draws) -> Forward:
        """Return the network with S posterior draws of its weights: of a state, or of the members picked."""

    def num_reduced(self) -> int:
        """Return how many numbers of a member a rank hands to the all-reduces of a step."""

    def num_draws(self, requested: int) -> int:
        """Return how many of so many draws differ from each other."""
        return requested

    def marginals(self, state: State) -> Marginals:
        """Return mean and standard deviation of the weights, for histograms; here of methods without a scale."""
        return Marginals(state.params.numpy(), np.zeros(0, np.float32))

    def picked(self, state: State, member_S: tf.Tensor, index_S: tf.Tensor) -> Picked:
        """Return the state of the members member_S, of each of which the draw number index_S is wanted."""
        slots = {name: tf.gather(slot, member_S) for name, slot in state.slots.items()}
        return Picked(tf.gather(state.params, member_S), slots, state.step)

    def alone(self) -> "Method":
        """Return the method for a state that has all examples' parameters in one place."""
        return self

    def with_members(self, members: range) -> "Method":
        """Return the method for the gathered state of these members."""
        return self.alone()

    @property
    def base(self) -> "Method":
        """The method itself; of an ensemble, that of its members."""
        return self
