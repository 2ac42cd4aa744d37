"""Ranks and what they say to each other. The only file that imports Horovod.

Communication is visible where it happens (`gradient = cluster.mean(gradient)`); `Solo` is one process
without Horovod, `Hvd` is all the ranks that the launcher started.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bnn_hvd import launcher
from bnn_hvd.errors import TrainingError, UserError


class Cluster(Protocol):
    """Every rank calls every collective, in the same order."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def is_root(self) -> bool: ...

    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        """Average each tensor over the ranks, in one grouped all-reduce; also inside a graph."""

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank."""

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value (any picklable object), in order of rank."""

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value (any picklable object)."""

    def broadcast_variables(self, variables: Sequence[Any]) -> None:
        """Assign rank 0's values to every rank's variables."""

    def barrier(self) -> None:
        """Wait for all ranks. A rank that exits while others communicate shuts Horovod down for all."""


class Solo:
    """One process: every collective is the identity."""

    rank = local_rank = 0
    size = local_size = 1
    is_root = True

    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        return list(tensors)

    def any(self, flag: bool) -> bool:
        return flag

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def broadcast(self, value: Any) -> Any:
        return value

    def broadcast_variables(self, variables: Sequence[Any]) -> None:
        pass

    def barrier(self) -> None:
        pass


class Hvd:
    """All ranks, through Horovod. Made by `connect`."""

    def __init__(self, hvd: Any):
        self._hvd = hvd
        self.rank, self.size = hvd.rank(), hvd.size()
        self.local_rank, self.local_size = hvd.local_rank(), hvd.local_size()

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        return self._hvd.grouped_allreduce(list(tensors), op=self._hvd.Average)

    def any(self, flag: bool) -> bool:
        return bool(self._hvd.allreduce(np.float32(flag), op=self._hvd.Max, name="any"))

    def gather(self, value: Any) -> list[Any]:
        return self._hvd.allgather_object(value, name="gather")

    def broadcast(self, value: Any) -> Any:
        return self._hvd.broadcast_object(value, root_rank=0, name="broadcast")

    def broadcast_variables(self, variables: Sequence[Any]) -> None:
        self._hvd.broadcast_variables(variables, root_rank=0)

    def barrier(self) -> None:
        self.gather(None)


def connect(timeline: Path | None = None) -> Cluster:
    """Join the ranks that the launcher started; one process without a launcher stays alone.

    timeline: where Horovod writes its timeline, if at all.

    Raises:
      UserError: Horovod sees another number of ranks than the launcher started. A Horovod that was
        built without MPI, or against another MPI, would otherwise train N times on its own.
    """
    if not launcher.started_by_launcher() or launcher.world_size() == 1:
        return Solo()
    # Measured (docs/log.md): coordination costs more than the gradients, and Horovod's thread, waiting inside
    # MPI, takes the core of its own rank unless it yields. What the user has set stays.
    os.environ.setdefault("HOROVOD_CYCLE_TIME", "0.5")  # ms
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    if timeline:
        timeline.parent.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("HOROVOD_TIMELINE", str(timeline))
    import horovod.tensorflow as hvd

    hvd.init()
    expected = launcher.world_size() or _mpi_size()
    if hvd.size() != expected:
        raise UserError(
            f"the launcher started {expected} ranks, but Horovod sees {hvd.size()}: it was built without MPI or "
            "against another one. Put the launcher's mpicxx on PATH, remove .venv, and run `make install`"
        )
    return Hvd(hvd)


def _mpi_size() -> int:
    """Return the size of MPI's world, for launchers that name the rank but not the size."""
    from mpi4py import MPI

    return MPI.COMM_WORLD.Get_size()


def on_root(cluster: Cluster, action: Callable[[], object]) -> None:
    """Let rank 0 act; a UserError of its is raised on every rank."""
    problem = ""
    if cluster.is_root:
        try:
            action()
        except UserError as error:
            problem = str(error)
    if problem := cluster.broadcast(problem):
        raise UserError(problem)


def check_agreement(cluster: Cluster, facts: dict[str, str], host: str) -> None:
    """Raise UserError, naming the host, unless the facts (versions, code, flags) are the same on every rank."""
    everyone = cluster.gather((host, facts))
    for rank, (its_host, its_facts) in enumerate(everyone):
        for name, value in everyone[0][1].items():
            if its_facts.get(name) != value:
                raise UserError(
                    f"rank {rank} on {its_host} has {name} {its_facts.get(name)}, rank 0 on {everyone[0][0]} has "
                    f"{value}: start all ranks from the same environment and with the same flags"
                )


def assert_same(cluster: Cluster, what: str, content: bytes) -> None:
    """Raise TrainingError, naming the ranks, unless `content` is the same on every rank."""
    digests = cluster.gather(hashlib.sha256(content).hexdigest())
    different = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if different:
        raise TrainingError(f"{what} differ from rank 0's on ranks {different}: this run can't be trusted")
