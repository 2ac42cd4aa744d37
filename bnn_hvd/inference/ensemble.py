"""M members of one method, trained at once: deep ensembles (Lakshminarayanan et al. 2017) and others.

The approximate posterior is the mixture of the members', with equal weights. With swag it is multi-SWAG (Wilson &
Izmailov 2020).
"""

from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.method import Draws, Forward, Marginals, Method, Picked, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer


class Ensemble(Method):
    """Members `members` of an ensemble of `base`, which differ in their seeds alone.

    Member 0 has the seeds of a run without members. The training of a member depends neither on the number of members
    nor on its rank.
    """

    def __init__(self, base: Method, members: range):
        self._base, self.members, self.network, self.likelihood = base, members, base.network, base.likelihood

    @property
    def base(self) -> Method:
        return self._base

    @property
    def optimizer(self) -> Optimizer | None:
        return self._base.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer | None) -> None:
        self._base.optimizer = optimizer

    def with_members(self, members: range) -> "Ensemble":
        return Ensemble(self._base.alone(), members)

    def init(self, seed: np.ndarray) -> State:
        return self._base.init(self._seeds(seed))

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        return self._base.step(state, batch, controls._replace(seed=self._seeds(controls.seed)))

    def check_length(self, total_steps: int) -> None:
        self._base.check_length(total_steps)

    def num_reduced(self) -> int:
        return self._base.num_reduced()

    def num_allreduces(self) -> int:
        return self._base.num_allreduces()

    def num_draws(self, requested: int) -> int:
        """Return a multiple of the number of members: at least `requested`, unless fewer draws differ."""
        each = self._base.num_draws(-(-requested // len(self.members)))
        return each * len(self.members)

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        """Return the weights of S draws: draw s is of member s mod M."""
        return self._base.weights(*self._picked(state, draws))

    def draw(self, state: State | Picked, draws: Draws) -> Forward:
        return self._base.draw(*self._picked(state, draws))

    def _picked(self, state: State | Picked, draws: Draws) -> tuple[Picked, Draws]:
        assert isinstance(state, State)
        count = len(self.members)
        member, index = draws.index % count, draws.index // count
        return self._base.picked(state, member, index), Draws(index, draws.seeds)

    def signs_of_convergence(self, state: State) -> dict[str, float]:
        """Return those of the members, on average; of single networks also which part of their spread is missing.

        The epistemic uncertainty of M networks is to second order in their differences a variance of M values, divided
        by M. Its expected value is 1 - 1 / M times that of many networks.
        """
        single = self._base.num_draws(2) == 1
        return self._base.signs_of_convergence(state) | ({"missing_spread": 1 / len(self.members)} if single else {})

    def marginals(self, state: State) -> Marginals:
        return self._base.marginals(state)

    def _seeds(self, seed: tf.Tensor | np.ndarray) -> tf.Tensor | np.ndarray:
        """Return the seeds of the members, [M, 2], from a seed [2]."""
        return seeds.derive(seed, member=np.array(self.members, np.int64))
