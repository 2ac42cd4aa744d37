"""Which particles this rank trains, and the gathered state.

Without particles every rank holds the same state. With particles each rank holds those that it trains; for checkpoints
and evaluations the ranks gather them, in the order of their numbers.
"""

import dataclasses
from collections.abc import Callable, Container
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.config import TrainConfig
from bnn_hvd.data import shards
from bnn_hvd.distributed import cluster, particles
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError
from bnn_hvd.inference.method import Method, State
from bnn_hvd.run import checkpoint, records, rundir
from bnn_hvd.run.checkpoint import Arrays, Progress


class Population:
    """The particles of this rank, and the ranks that train them.

    Attributes:
      members: the particles of this rank; None without particles.
      cluster: the ranks that train the same particles as this one.
      progress: how far the run had come when this session began.
    """

    def __init__(self, config: TrainConfig, ranks: Cluster):
        self.config, self.ranks = config, ranks
        found = checkpoint.read_newest_good(config.folder / records.CHECKPOINTS) if ranks.is_root else None
        self._stored = {name: a for name, a in (found or {}).items() if not checkpoint.is_progress(name)}  # on rank 0
        self._earlier: Arrays = {}  # the particles before the first one in training
        progress = checkpoint.read_progress(found) if found else None
        count = checkpoint.num_particles(self._stored) if found and config.method.num_particles else 0
        progress, self._num_stored = ranks.broadcast((progress, count))
        self._resumed, self.progress = progress is not None, progress or Progress()
        self.members, self.cluster = None, ranks
        if not config.method.num_particles:
            return
        if self._resumed:
            self.progress = self._continued(self._num_stored)
        share = self._share(ranks.rank)
        self.members = share.members
        self.cluster = ranks.split(share.ranks, first_row=share.members.start - self.progress.first_member)

    def restore(self, state: State) -> None:
        """Set this rank's part of the state from the checkpoint, if there is one; every rank calls it."""
        stored, self._stored = self._stored, {}  # a state may be so large that rank 0 can't have it twice for long
        if not self._resumed:
            return
        if self.members is None:
            checkpoint.restore(self.ranks.broadcast(stored), state)
            return
        if self._num_stored == self.config.method.num_particles:
            alike = {name: a for name, a in stored.items() if not a.ndim or self._everyone_has(name, state)}
            common = self.ranks.broadcast(self._part(0, alike, state))
            every = range(self.ranks.size if self.ranks.is_root else 0)
            parts = [self._part(rank, stored, state, without=alike) for rank in every]
            checkpoint.restore(common | self.ranks.scatter(parts or None), state)
        if first := self.progress.first_member:
            earlier = {name: a[:first].copy() for name, a in stored.items() if a.ndim}
            drawn = self.ranks.broadcast({name: a for name, a in earlier.items() if name in state.to_draw_from})
            self._earlier = earlier if self.ranks.is_root else drawn

    def gather_on_root(self, state: State) -> Arrays | None:
        """Return all variables of the gathered state on rank 0, and None on the others; every rank calls it."""
        found = {one.name: self._gathered(one, state, self.ranks.gather_on_root) for one in state.variables}
        return {name: a for name, a in found.items() if a is not None} if self.ranks.is_root else None

    def gather_to_draw_from(self, state: State) -> Arrays:
        """Return the variables of the gathered state that draws depend on, on every rank."""
        found = {name: self._gathered(one, state, self.ranks.gather) for name, one in state.to_draw_from.items()}
        return {name: a for name, a in found.items() if a is not None}

    def has_all(self, state: State) -> bool:
        """Return whether the state of a rank is the gathered one."""
        if self.members is None:
            return True
        return not self._earlier and self.cluster.size == self.ranks.size and not state.example_axis

    def _everyone_has(self, name: str, state: State) -> bool:
        """Return whether a variable is equal on all ranks: all train the same particles, and it is of all examples."""
        return self.cluster.size == self.ranks.size and name not in state.example_axis

    def _gathered(
        self, variable: tf.Variable, state: State, gather: Callable[[np.ndarray | None], list[Any] | None]
    ) -> np.ndarray | None:
        """Return a variable of the gathered state on the ranks that `gather` returns to, and None on the others.

        What the ranks of a group have alike, the first of them sends; what all ranks have alike, none.
        """
        name, array = variable.name, variable.numpy()
        if not array.ndim:
            return array
        if self._everyone_has(name, state):
            return self._after_earlier(name, [array])
        local = name in state.example_axis
        parts = gather(array if local or self.cluster.rank == 0 else None)
        if parts is None:
            return None
        groups = dict.fromkeys(self._share(rank).ranks for rank in range(self.ranks.size))  # in order of members
        rows = [parts[ranks[0]] for ranks in groups]
        if local:
            rows = [np.concatenate([parts[r] for r in ranks], state.example_axis[name]) for ranks in groups]
        return self._after_earlier(name, rows)

    def _after_earlier(self, name: str, rows: list[np.ndarray]) -> np.ndarray:
        """Return the rows of a variable, after those of the particles that were finished before."""
        rows = [*([self._earlier[name]] if self._earlier else []), *rows]
        return np.concatenate(rows) if len(rows) > 1 else rows[0]

    def _part(self, rank: int, stored: Arrays, state: State, without: Container[str] = ()) -> Arrays:
        """Return a rank's part of stored arrays: its particles, and of local latents those of its examples."""
        members, ranks = self._share(rank)
        part = {name: a[members.start : members.stop] if a.ndim else a for name, a in stored.items()}
        for name in state.example_axis.keys() & part.keys():
            axis = state.example_axis[name]
            here = shards.shard(part[name].shape[axis], rank - ranks.start, len(ranks))
            part[name] = np.ascontiguousarray(part[name][(slice(None),) * axis + (here,)])
        return {name: a for name, a in part.items() if name not in without}

    def _share(self, rank: int) -> particles.Share:
        """Return the particles and the group of a rank."""
        return particles.share(
            range(self.progress.first_member, self.config.method.num_particles), rank, self.ranks.size,
            self.config.method.allow_uneven, self.config.method.options.rank_groups,
        )  # fmt: skip

    def assert_same(self, state: State, step: int) -> None:
        """Raise TrainingError unless the ranks that train the same particles hold the same parameters."""
        reference = self.ranks.rank - self.cluster.rank
        cluster.assert_same(self.ranks, f"the weights at step {step}", state.params.numpy().tobytes(), reference)

    def _continued(self, stored: int) -> Progress:
        """Return where training goes on; particles that are added to a finished run begin at step 0.

        Raises:
          UserError: the run can't go on with this number of particles.
        """
        run, wanted = self.config.folder, self.config.method.num_particles
        if stored == wanted:
            return self.progress
        if stored > wanted:
            raise UserError(f"{run} has {stored} particles already: --num_particles={wanted} can only add to them")
        if self.config.method.options.interacting:
            raise UserError(f"{run} has {stored} particles, which have moved together: start a new run for {wanted}")
        if not rundir.finished(self.config, self.progress):
            raise UserError(
                f"{run} has not finished its {stored} particles: go on with --num_particles={stored} before adding more"
            )
        return dataclasses.replace(self.progress, step=0, epoch=0, offset=0, first_member=stored, converged=False)


class GatheredState:
    """The gathered state, and the method for it: evaluations draw from these.

    Attributes:
      method: with the members of all ranks.
      state: as of the last `update`; the state that is trained, where every rank has all of it.
    """

    def __init__(self, method: Method, state: State, population: Population, config: TrainConfig):
        self._trained, self._population, self._step = state, population, -1
        self.method, self.state = method, state
        if population.members is not None:
            self.method = method.with_members(range(config.method.num_particles))
        if not population.has_all(state):
            self.state = self.method.init(seeds.seed(config.run.seed, "init"))
            self.state.drop_optimizer()

    def update(self) -> None:
        """Gather the state of all ranks, unless it was gathered after the same step; every rank calls it."""
        step, self._step = self._step, int(self._trained.step)
        if self.state is not self._trained and step != self._step:
            checkpoint.restore(self._population.gather_to_draw_from(self._trained), self.state)
