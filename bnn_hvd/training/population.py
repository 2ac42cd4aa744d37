"""Which particles this rank trains, and the gathered state.

Without particles every rank holds the same state. With particles each rank holds those that it trains; for checkpoints
and evaluations the ranks gather them, in the order of their numbers.
"""

import dataclasses

import numpy as np

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
        folder = config.folder / records.CHECKPOINTS
        found = ranks.broadcast(checkpoint.read_newest_good(folder) if ranks.is_root else None)
        self.progress = checkpoint.read_progress(found) if found else Progress()
        self._stored = {name: value for name, value in (found or {}).items() if not checkpoint.is_progress(name)}
        self.members, self.cluster = None, ranks
        if not config.method.num_particles:
            return
        if found:
            self.progress = self._continued(checkpoint.num_particles(self._stored))
        share = particles.share(
            range(self.progress.first_member, config.method.num_particles), ranks.rank, ranks.size,
            config.method.allow_uneven, config.method.options.rank_groups,
        )  # fmt: skip
        self.members = share.members
        self.cluster = ranks.split(share.ranks, first_row=share.members.start - self.progress.first_member)

    def restore(self, state: State) -> None:
        """Set this rank's part of the state from the checkpoint, if there is one."""
        if not self._stored:
            return
        if self.members is None:
            checkpoint.restore(self._stored, state)
        elif checkpoint.num_particles(self._stored) == self.config.method.num_particles:
            mine = slice(self.members.start, self.members.stop)
            stored = {name: a[mine] if a.ndim else a for name, a in self._stored.items()}
            for name, axis in state.example_axis.items():
                here = shards.shard(stored[name].shape[axis], self.cluster.rank, self.cluster.size)
                stored[name] = stored[name][(slice(None),) * axis + (here,)]
            checkpoint.restore(stored, state)

    def gather(self, state: State) -> Arrays:
        """Return the variables of the gathered state, on every rank."""
        arrays = checkpoint.arrays_of(state)
        if self.members is None:
            return arrays
        parts: dict[int, Arrays] = {}  # by first member
        for start, part in self.ranks.gather((self.members.start, arrays)):
            if start in parts:  # the ranks of a group hold the same, except the local latents of their examples
                own = {
                    name: np.concatenate([parts[start][name], part[name]], a) for name, a in state.example_axis.items()
                }
                part = parts[start] | own
            parts[start] = part
        first = self.progress.first_member
        earlier = [{name: a[:first] for name, a in self._stored.items() if a.ndim}] if first else []
        ordered = [*earlier, *(parts[start] for start in sorted(parts))]
        return {name: np.concatenate([p[name] for p in ordered]) if a.ndim else a for name, a in arrays.items()}

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
        return dataclasses.replace(self.progress, step=0, epoch=0, offset=0, first_member=stored)


class GatheredState:
    """The gathered state, and the method for it: evaluations draw from these.

    Attributes:
      method: with the members of all ranks.
      state: as of the last `update`; without particles the state that is trained.
    """

    def __init__(self, method: Method, state: State, population: Population, config: TrainConfig):
        self._trained, self._population = state, population
        self.method, self.state = method, state
        if population.members is not None:
            self.method = method.with_members(range(config.method.num_particles))
            self.state = self.method.init(seeds.seed(config.run.seed, "init"))

    def update(self) -> None:
        """Gather the state of all ranks; every rank calls it."""
        if self.state is not self._trained:
            checkpoint.restore(self._population.gather(self._trained), self.state)
