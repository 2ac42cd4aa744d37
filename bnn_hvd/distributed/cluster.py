"""Ranks and their communication. The only file that imports Horovod.

Communication is visible where it happens (`cluster.mean([gradient], "gradient")`). `Solo` is one process without
Horovod, `Hvd` is all ranks that the launcher started, or a group of them.

Horovod joins the parts of the ranks by name. By default it makes the name of a collective in a graph from those of its
input tensors, so ranks whose graphs differ in anything else, as in the number of chunks or of particles, would wait for
each other for ever. So these collectives have a name of their own. Outside of graphs TensorFlow ignores names: there
Horovod's name is that of the operation, which is equal on every rank.
"""

import dataclasses
import functools
import hashlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from bnn_hvd.distributed import collectives, cores, launcher, objects, settings
from bnn_hvd.distributed.collectives import Collective
from bnn_hvd.distributed.cores import Place
from bnn_hvd.errors import TrainingError, UserError

T = TypeVar("T")
Concat = Callable[[Sequence[Any], str], list[Any]]
PREFIX = "bnn_hvd."  # of the names of collectives: no operation of TensorFlow has such a name


class Cluster(Protocol):
    """The collectives. Every rank calls each of them, in the same order.

    name: of a collective that may be in a graph. Two collectives that may run at the same time have different names.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    first_row: int  # of this group in the result of `concat`
    compression: str  # of gradients: inference/compression.py
    gradient_blocks: int  # per global batch: inference/gradient_blocks.py; 0: the part of each rank is one block

    @property
    def is_root(self) -> bool: ...

    def mean(self, tensors: Sequence[Any], name: str) -> list[Any]:
        """Average each tensor over the ranks, in one grouped all-reduce; also inside a graph."""

    def sum(self, tensors: Sequence[Any], name: str) -> list[Any]:
        """Add up each tensor over the ranks, in one grouped all-reduce; also inside a graph.

        All tensors have one type, which may be float16.
        """

    def join(self, tensors: Sequence[Any], name: str) -> list[Any]:
        """Concatenate each tensor [M, ...] over the ranks along axis 0, in order of rank; also inside a graph."""

    def places(self) -> list[Place]:
        """Return where each rank may run, in order of rank. TensorFlow need not be set up.

        Where MPI can't be asked, only those on this host are known, and they are assumed to share their cores.
        """

    def check_collectives(self) -> None:
        """Check that the ranks would communicate the same inside the graphs that they have traced since the last check.

        Raises:
          TrainingError: they would not, and would wait for ever.
        """

    def max(self, values: Sequence[float]) -> list[float]:
        """Return the largest of each value (float32, no NaN) over the ranks."""

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank."""

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value (any picklable object), in order of rank."""

    def gather_on_root(self, value: Any) -> list[Any] | None:
        """Return every rank's value (any picklable object), in order of rank, on rank 0, and None on the others."""

    def scatter(self, values: Sequence[Any] | None) -> Any:
        """Return the value (any picklable object) that rank 0 has for this rank.

        values: one for each rank, on rank 0; None on the others.
        """

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value (any picklable object)."""

    def barrier(self) -> None:
        """Wait for all ranks. A rank that exits while others communicate shuts Horovod down for all."""

    def split(self, ranks: range, first_row: int) -> "Cluster":
        """Return this rank's group of ranks.

        ranks: the group. All groups have the same size.
        first_row: where the rows of this group begin in the result of `concat`.
        """

    def concat(self, tensors: Sequence[Any], name: str) -> list[Any]:
        """Concatenate each tensor [M, ...] over the groups along axis 0, in their order; also inside a graph.

        Ranks that were not split are one group. The rows of this rank's group begin at `first_row`.
        """


def unchanged(tensors: Sequence[Any], name: str) -> list[Any]:
    """Return the tensors: `concat` over one group."""
    return list(tensors)


class Solo:
    """One process: every collective is the identity."""

    rank = local_rank = 0
    size = local_size = 1
    is_root = True
    compression = "none"

    def __init__(self, concat: Concat = unchanged, first_row: int = 0, gradient_blocks: int = 0):
        self.concat, self.first_row, self.gradient_blocks = concat, first_row, gradient_blocks

    def mean(self, tensors: Sequence[Any], name: str) -> list[Any]:
        return list(tensors)

    def sum(self, tensors: Sequence[Any], name: str) -> list[Any]:
        return list(tensors)

    def join(self, tensors: Sequence[Any], name: str) -> list[Any]:
        return list(tensors)

    def places(self) -> list[Place]:
        return [cores.here()]

    def check_collectives(self) -> None:
        pass

    def max(self, values: Sequence[float]) -> list[float]:
        return [float(value) for value in values]

    def any(self, flag: bool) -> bool:
        return flag

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def gather_on_root(self, value: Any) -> list[Any] | None:
        return [value]

    def scatter(self, values: Sequence[Any] | None) -> Any:
        assert values is not None
        return values[0]

    def broadcast(self, value: Any) -> Any:
        return value

    def barrier(self) -> None:
        pass

    def split(self, ranks: range, first_row: int) -> "Solo":
        return self


class Hvd:
    """All ranks, or a group of them (a process set of Horovod). `connect` and `split` make it."""

    def __init__(
        self,
        hvd: Any,
        compression: str = "none",
        group: Any = None,
        concat: Concat = unchanged,
        first_row: int = 0,
        gradient_blocks: int = 0,
        traced: dict[Collective, None] | None = None,
    ):
        """traced: the collectives in the graphs of this process, those of all groups; Horovod has one name for each."""
        self._hvd, self.compression, self.concat, self.first_row = hvd, compression, concat, first_row
        self.gradient_blocks = gradient_blocks
        self._group = group or hvd.global_process_set
        self._traced = {} if traced is None else traced
        self.rank, self.size = self._group.rank(), self._group.size()
        self.local_rank, self.local_size = hvd.local_rank(), hvd.local_size()

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    def mean(self, tensors: Sequence[Any], name: str) -> list[Any]:
        return self._reduce("mean", self._hvd.Average, tensors, name)

    def sum(self, tensors: Sequence[Any], name: str) -> list[Any]:
        return self._reduce("sum", self._hvd.Sum, tensors, name)

    def join(self, tensors: Sequence[Any], name: str) -> list[Any]:
        self._note("join", name, tensors, collectives.concatenated(tensors), self.size)
        return self._hvd.grouped_allgather(list(tensors), process_set=self._group, **named(name))

    def _reduce(self, kind: str, operation: Any, tensors: Sequence[Any], name: str) -> list[Any]:
        self._note(kind, name, tensors, collectives.reduced(tensors))
        return self._hvd.grouped_allreduce(list(tensors), op=operation, process_set=self._group, **named(name))

    def _note(self, kind: str, name: str, tensors: Sequence[Any], types: tuple[str, ...], copies: int = 1) -> None:
        collectives.check_size(name, tensors, copies)
        # Horovod does not tell TensorFlow that its operations have effects. A collective of constants would run while
        # the graph is optimised, on those ranks alone whose tensors are constant.
        assert not all(map(collectives.is_constant, tensors)), f"{name}: ranks do not communicate constants"
        first = self._hvd.rank() - self.rank  # groups are contiguous
        self._traced[Collective(kind, name, range(first, first + self.size), types)] = None

    def places(self) -> list[Place]:
        # A collective of Horovod would start TensorFlow with all cores, and its threads can't be changed after that.
        if not (self._hvd.mpi_enabled() and self._hvd.mpi_threads_supported()):
            return [cores.here()] * self.local_size
        from mpi4py import MPI

        return MPI.COMM_WORLD.allgather(cores.here())

    def check_collectives(self) -> None:
        everyone = self.gather(tuple(self._traced))
        self._traced.clear()
        collectives.check_equal(everyone)

    def max(self, values: Sequence[float]) -> list[float]:
        mine = np.array(values, np.float32)
        return self._hvd.allreduce(mine, op=self._hvd.Max, process_set=self._group).numpy().tolist()

    def any(self, flag: bool) -> bool:
        return bool(self.max([flag])[0])

    def gather(self, value: Any) -> list[Any]:
        return objects.gather(value, self.rank, self.size, self._all_gather)

    def gather_on_root(self, value: Any) -> list[Any] | None:
        return objects.to_root(value, self.rank, self.size, self._all_gather, self._exchange)

    def scatter(self, values: Sequence[Any] | None) -> Any:
        return objects.scatter(values, self.rank, self.size, self._from_root, self._exchange)

    def broadcast(self, value: Any) -> Any:
        return objects.broadcast(value, self.is_root, self._from_root)

    def _all_gather(self, mine_N: np.ndarray) -> np.ndarray:
        return self._hvd.allgather(mine_N, process_set=self._group).numpy()

    def _from_root(self, mine_N: np.ndarray) -> np.ndarray:
        return self._hvd.broadcast(mine_N, 0, process_set=self._group).numpy()

    def _exchange(self, mine_N: np.ndarray, counts: list[int]) -> np.ndarray:
        splits = np.array(counts, np.int32)
        return self._hvd.alltoall(mine_N, splits, process_set=self._group)[0].numpy()

    def barrier(self) -> None:
        self.gather(None)

    def split(self, ranks: range, first_row: int) -> Cluster:
        if len(ranks) == self.size:
            return self
        if len(ranks) == 1:
            return Solo(self._concat_every(1), first_row)
        for first in range(0, self.size, len(ranks)):  # every rank has to register every group
            group = _process_set(self._hvd, range(first, first + len(ranks)))
            if first == ranks.start:
                mine = group
        every = self._concat_every(len(ranks))
        return Hvd(self._hvd, self.compression, mine, every, first_row, traced=self._traced)

    def _concat_every(self, group_size: int) -> Concat:
        """Return `concat` over groups of this size. A group of several ranks has one particle: its row is [1, ...]."""
        return lambda tensors, name: [part[::group_size] for part in self.join(tensors, name)]


def named(name: str) -> dict[str, Any]:
    """Return the arguments that make Horovod use this name, whatever the loop or function of the graph it is in."""
    return {"name": f"{PREFIX}{name}", "ignore_name_scope": True}


@functools.cache
def _process_set(hvd: Any, ranks: range) -> Any:
    """Return the process set of these ranks. Cached, because Horovod refuses to make a set twice."""
    return hvd.add_process_set(ranks)


@dataclasses.dataclass(frozen=True)
class Communication:
    """How the ranks communicate in training; the defaults are those of all other verbs."""

    timeline: Path | None = None  # the file into which Horovod writes its timeline
    groups: bool = False  # `split` will make groups of several ranks
    compression: str = "none"  # of gradients: inference/compression.py
    fusion_mb: float = -1.0  # megabytes of tensors that Horovod joins in one all-reduce; negative: its default
    gradient_blocks: int = 0  # per global batch; 0: the part of each rank is one block


DEFAULTS = Communication()


def connect(options: Communication = DEFAULTS) -> Cluster:
    """Join the ranks that the launcher started, or return `Solo` for a process without a launcher.

    Raises:
      UserError: Horovod sees another number of ranks than the launcher started. A Horovod that was
        built without MPI, or against another MPI, would otherwise train N times on its own.
    """
    if not launcher.started_by_launcher() or launcher.world_size() == 1:
        return Solo(gradient_blocks=options.gradient_blocks)
    settings.apply(options.timeline, options.fusion_mb)
    import horovod.tensorflow as hvd

    hvd.init(process_sets="dynamic" if options.groups else None)
    expected = launcher.world_size() or _mpi_size()
    if hvd.size() != expected:
        raise UserError(
            f"the launcher started {expected} ranks, but Horovod sees {hvd.size()}: it was built without MPI or "
            "against another one. Put the launcher's mpicxx on PATH, remove .venv, and run `make install`"
        )
    return Hvd(hvd, options.compression, gradient_blocks=options.gradient_blocks)


def _mpi_size() -> int:
    """Return the size of MPI's world: some launchers name the rank but not the size."""
    from mpi4py import MPI

    return MPI.COMM_WORLD.Get_size()


def on_root(cluster: Cluster, action: Callable[[], object]) -> None:
    """Call `action` on rank 0 alone.

    Raises:
      UserError: on every rank, if the action raised one.
    """
    problem = _problem(action)[1] if cluster.is_root else ""
    if problem := cluster.broadcast(problem):
        raise UserError(problem)


def on_each(cluster: Cluster, action: Callable[[], T]) -> T:
    """Call `action` on every rank, and return what it returned on this one.

    Raises:
      UserError: on every rank, if the action raised one on some rank; it names the first such rank, and its host.
    """
    result, problem = _problem(action)
    everyone = cluster.gather((socket.gethostname(), problem))
    failed = [
        f"{its_problem} (rank {rank} on {host})" for rank, (host, its_problem) in enumerate(everyone) if its_problem
    ]
    if failed:
        raise UserError(failed[0] if len(failed) < cluster.size else problem)
    return cast(T, result)


def _problem(action: Callable[[], T]) -> tuple[T | None, str]:
    """Return what an action returns, and the message of the UserError that it raises, "" if it raises none."""
    try:
        return action(), ""
    except UserError as error:
        return None, str(error)


def check_agreement(
    cluster: Cluster, facts: dict[str, str], host: str,
    way_out: str = "start all ranks from the same environment and with the same flags",
) -> None:  # fmt: skip
    """Check that the facts (versions, code, flags) are the same on every rank.

    Raises:
      UserError: they are not; it names the rank, its host and the fact.
    """
    everyone = cluster.gather((host, facts))
    root_host, root_facts = everyone[0]
    for rank, (its_host, its_facts) in enumerate(everyone):
        for name in root_facts | its_facts:
            its, root = its_facts.get(name, "none"), root_facts.get(name, "none")
            if its != root:
                raise UserError(
                    f"rank {rank} on {its_host} has {name} {its}, rank 0 on {root_host} has {root}: {way_out}"
                )


def assert_same(cluster: Cluster, what: str, content: bytes, reference: int = 0) -> None:
    """Assert that each rank's `content` equals that of the rank which it names as its `reference`.

    Raises:
      TrainingError: they differ; it names the ranks.
    """
    everyone = cluster.gather((hashlib.sha256(content).hexdigest(), reference))
    different = [rank for rank, (digest, like) in enumerate(everyone) if digest != everyone[like][0]]
    if different:
        like = everyone[different[0]][1]
        raise TrainingError(
            f"{what} differ from rank {like}'s on ranks {different}: the same command goes on from the last checkpoint"
        )
