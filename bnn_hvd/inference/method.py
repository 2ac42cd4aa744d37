"""The interface of a method of inference, and its arguments. Read this first, then point.py, then vi.py.

A method approximates the posterior of a network's weights. It is one file here and one row in registry.METHODS.

**Members.** A method also trains M copies of the network at once, as particles or as the members of an ensemble.
The only difference is an axis: seeds are [M, 2] instead of [2], and every variable of the state but the step counter
has the leading axis M. Methods therefore work on the last axis of theta [..., P].

Legend: P weights of the network, B of them with a scale, M members, S draws, N examples, O outputs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.inference.controls import Controls, Scalars
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.network import STATISTICS, Network

Forward = Callable[[tf.Tensor], tf.Tensor]  # x [N, ...] -> outputs [S, N, O]


class Draws(NamedTuple):
    """Which posterior draws to make. Given the state, a draw depends on its index and its seed alone."""

    index: tf.Tensor  # [S] int32, counting from 0
    seeds: tf.Tensor  # [S, 2] int64


class State(tf.Module):
    """All variables of a method.

    Attributes:
      params: all trained numbers, one flat vector: theta [P], or for vi [P + B]; with M members, [M, ...].
      slots: the other variables of the optimizer and the method, by name; with M members, [M, ...].
      step: number of steps done, int64.
      example_axis: for each variable with an axis of this rank's examples (local latents), the index of that axis, by
        the variable's name.
    """

    def __init__(self, params: tf.Tensor, optimizer: Optimizer | None = None, network: Network | None = None):
        super().__init__()
        self.params = tf.Variable(params, name="params")
        self.slots = optimizer.slots(self.params) if optimizer else {}
        self._of_optimizer = {variable.name for variable in self.slots.values()}
        if network and network.initial_statistics.size:
            each = tf.broadcast_to(network.initial_statistics, [*params.shape[:-1], network.initial_statistics.size])
            self.slots[STATISTICS] = tf.Variable(each, name="batch_statistics")
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        self.example_axis: dict[str, int] = {}

    @property
    def to_draw_from(self) -> dict[str, tf.Variable]:
        """The variables that draws may depend on, by their name: all but the optimizer's."""
        return {one.name: one for one in self.variables if one.name not in self._of_optimizer}

    def drop_optimizer(self) -> None:
        """Free the variables of the optimizer: the state can be drawn from, but not trained."""
        self.slots = {key: slot for key, slot in self.slots.items() if slot.name not in self._of_optimizer}


class Picked(NamedTuple):
    """What to draw from: as in `State`, with the axis S instead of M: for each of S draws, its picked member."""

    params: tf.Tensor
    slots: dict[str, tf.Tensor]


class Marginals(NamedTuple):
    """Mean of each weight, and standard deviation of the first B weights; B = 0 for a method without scales."""

    loc_P: np.ndarray
    scale_B: np.ndarray = np.zeros(0, np.float32)


class Method(Protocol):
    """Made from (network, likelihood, num_train, cluster, config). The objective is per label: where examples have
    several, it counts num_labels = num_train * likelihood.labels_per_example. Only `optimizer` may be replaced
    (checksums.py).

    optimizer: None for a method with its own update rule.
    """

    network: Network
    likelihood: Likelihood
    optimizer: Optimizer | None = None

    def init(self, seed: np.ndarray) -> State:
        """Return the initial state for a seed [2] or [M, 2]; equal on every rank."""

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        """Make one step of training on this rank's part of the batch: change `state`, and return scalars to log.

        All communication is by the cluster. Afterwards the state is equal on all ranks that train the same members, but
        for local latents.
        """

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        """Return S posterior draws of the weights by name, as `Network.apply` takes them.

        Each is [S, ...], or [...] where all draws share it.
        """

    def draw(self, state: State | Picked, draws: Draws) -> Forward:
        """Return the network with S posterior draws of its weights."""
        weights = self.weights(state, draws)
        return lambda x: self.network.apply(weights, x)

    def num_random(self) -> int:
        """Return how many weights have a density q(w); 0 for a method whose draws have none that is computed."""
        return 0

    def log_ratios(self, state: State, draws: Draws, log_likelihood_S: tf.Tensor) -> tf.Tensor:
        """Return log p(w_s, data) - log q(w_s) of S draws, in nats, float64 [S], if `num_random` is not 0.

        p is the joint density that q approximates: kl_weight tempers it as it does in training, and the weights without
        a density are given.

        log_likelihood_S: the log likelihood of all training examples under each of these draws.
        """
        raise AssertionError("its draws have no density")

    def num_reduced(self) -> int:
        """Return how many numbers a rank contributes to the all-reduces of a step, per member, scalars left out."""

    def num_allreduces(self) -> int:
        """Return in how many all-reduces, one after the other, a rank contributes them."""
        return 1

    def num_draws(self, requested: int) -> int:
        """Return how many draws to make for `requested`: 1 where all are equal, the same number for each member."""
        return requested

    def check_length(self, total_steps: int) -> None:
        """Raise UserError if a run of so many steps would give no posterior."""

    def signs_of_convergence(self, state: State) -> dict[str, float]:
        """Return numbers that tell, beside the log, whether a finished run has converged (metrics/convergence.py)."""
        return {}

    def marginals(self, state: State) -> Marginals:
        """Return mean and standard deviation of the weights. The default is for methods without scales."""
        return Marginals(state.params.numpy())

    def picked(self, state: State, member_S: tf.Tensor, index_S: tf.Tensor) -> Picked:
        """Return the state to draw from: entry s is for draw index_S[s] of member member_S[s]."""
        slots = {name: tf.gather(slot, member_S) for name, slot in state.slots.items()}
        return Picked(tf.gather(state.params, member_S), slots)

    def alone(self) -> "Method":
        """Return the method for a gathered state, which has the local latents of all examples."""
        return self

    def with_members(self, members: range) -> "Method":
        """Return the method for the gathered state of these members."""
        return self.alone()

    @property
    def base(self) -> "Method":
        """The method itself; of an ensemble, that of its members."""
        return self
