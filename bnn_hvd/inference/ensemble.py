"""Many members of one method, trained at once: deep ensembles (Lakshminarayanan et al. 2017) and all others.

The posterior is an equal mixture of the members'. With swag it is multi-SWAG (Wilson & Izmailov 2020).
"""

from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.inference.descent import State, picked
from bnn_hvd.inference.objective import Controls, Draws


class Ensemble:
    """Members `members` of an ensemble of `method`. Member m differs from a run without members by its seeds alone.

    Member 0 has the seeds of that run. A member's training depends neither on how many there are nor on
    which rank it is.
    """

    def __init__(self, method: Any, members: range):
        self.method, self.members, self.network, self.likelihood = method, members, method.network, method.likelihood

    def with_members(self, members: range) -> "Ensemble":
        """Return the method for a state that is whole in one place, of these members."""
        return Ensemble(self.method.alone() if hasattr(self.method, "alone") else self.method, members)

    def init(self, seed: np.ndarray) -> State:
        return self.method.init(seed + self._offsets())

    def step(self, state: State, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
        return self.method.step(state, batch, controls._replace(seed=controls.seed + self._offsets()))

    def num_reduced(self) -> int:
        return self.method.num_reduced()

    def num_draws(self, requested: int) -> int:
        """Return equally many draws of each member, and at least what was asked for where they can be told apart."""
        each = self.method.num_draws(-(-requested // len(self.members)))
        return each * len(self.members)

    def draw(self, state: State, draws: Draws):  # type: ignore[no-untyped-def]
        """Return the network with the draws dealt to the members in turn."""
        count = len(self.members)
        member, index = draws.index % count, draws.index // count
        if hasattr(self.method, "picked"):  # a chain has been at many places
            return self.method.draw(self.method.picked(state, member, index), Draws(index, draws.seeds))
        return self.method.draw(picked(state, member), Draws(index, draws.seeds))

    def marginals(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        return self.method.marginals(state)

    def _offsets(self) -> np.ndarray:
        """Return what makes one seed [2] a seed for each member [M, 2]."""
        return np.array([[member, 0] for member in self.members], np.int64)
