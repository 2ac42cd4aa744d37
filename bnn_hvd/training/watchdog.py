"""Ends a job in which a rank has stalled, so that a hung node does not use up the allocation.

A rank stalls if its node swaps, its file system hangs or the process is stopped. All other ranks then wait inside an
all-reduce, and MPI has no time-out. So a thread of each rank watches how long the current phase takes. After half of
its patience the thread begins to leave notes in the run directory, each with a new number. After all of it the thread
reads which ranks have left no new note meanwhile, names them, and ends the process. A job without a stall writes
nothing.

Ranks answer through the file system, so they may all answer though the network between them is gone. So a note also has
the hosts that no longer answer over the network, and rank 0 names those as soon as it misses them.

A phase may take long because it is long: one trajectory of hmc, or an evaluation of a large state. So the patience
follows the longest phase of its kind so far. Nobody knows the length of the first one: it ends the job only if a rank
leaves no notes, or if the network is gone.
"""

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bnn_hvd.distributed import network
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import TrainingError
from bnn_hvd.run import records

SLOWER = 5.0  # times the longest phase of a kind so far: another one that takes as long has stalled
CHECKS = 8  # of the notes, in one time-out
LOOK_S = 2.0  # between two looks at the network
LAUNCHER_S = 40.0  # in which the launcher finds by itself that the network is gone: see jobs/openmpi.py


class Phase(NamedTuple):
    """What a rank does now, since when (seconds of the monotonic clock), and how long it may take.

    kind: phases of one kind take equally long for each of their `units`.
    measured: whether a phase of its kind has ended before.
    """

    name: str
    kind: str
    units: int
    since: float
    patience_s: float
    measured: bool


class Note(NamedTuple):
    """What a waiting rank says of itself, and which addresses do not answer it."""

    host: str
    waits: str
    unanswered: list[str]


class Place(NamedTuple):
    """Where a rank is: its host, the addresses of that, and the lock of the run directory that it sees."""

    host: str
    addresses: list[str]
    lock: str


class Watchdog:
    """While entered, ends this process if a rank has stalled. See above.

    timeout_s: the least patience; 0: never end the process.
    places: of each rank. One that sees another lock than rank 0 does not share its file system, and leaves no notes.
    unanswered: returns the addresses that do not answer this rank.
    """

    def __init__(
        self, run: Path, ranks: Cluster, timeout_s: float, places: Sequence[Place],
        clock: Callable[[], float] = time.monotonic, unanswered: Callable[[], list[str]] = network.unanswered,
    ):  # fmt: skip
        self.folder, self.rank, self.size, self.timeout_s = run / records.WAITING, ranks.rank, ranks.size, timeout_s
        self._host_of = {address: place.host for place in places for address in place.addresses}
        self._hosts = [place.host for place in places]
        self._sharing = [rank for rank, place in enumerate(places) if place.lock == places[0].lock]
        self._clock, self._unanswered = clock, unanswered
        self._longest_s: dict[str, float] = {}  # of one unit, by kind of phase
        self._now = Phase("the start", "start", 1, clock(), timeout_s, False)
        self._watched: Phase | None = None
        self._cut_off = False  # a host may be lost: it does not answer another, or its ranks are silent
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []
        if ranks.is_root:
            self.forget()  # notes of a job before that stalled

    def __enter__(self) -> "Watchdog":
        if self.timeout_s and self.size > 1:
            # What another host than that of rank 0 prints has to come over the network.
            actions = [self._watch, self._look] if self.rank == 0 else [self._watch]
            self._threads = [threading.Thread(target=action, daemon=True) for action in actions]
            for thread in self._threads:
                thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(timeout=CHECKS)  # it may write a note; a file system may hang

    def forget(self) -> None:
        """Remove the notes: those of a slow phase, or of a job before this one."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def enter(self, kind: str, name: str, units: int = 1) -> None:
        """Begin a phase. Every rank begins every phase.

        units: the length of the phase is proportional to it.
        """
        now, last = self._clock(), self._now
        self._longest_s[last.kind] = max(self._longest_s.get(last.kind, 0.0), (now - last.since) / last.units)
        patience_s = max(self.timeout_s, SLOWER * units * self._longest_s.get(kind, 0.0))
        self._now = Phase(name, kind, units, now, patience_s, kind in self._longest_s)

    def check(self) -> str:
        """Leave a note if this phase takes long, and return why the job must end, "" if it goes on.

        It is called CHECKS times in a time-out.
        """
        phase = self._now
        if phase is not self._watched:
            self._watched, self._num_notes, self._before = phase, 0, self._read_notes()
        waited_s = self._clock() - phase.since
        if waited_s < phase.patience_s / 2:
            return ""
        self._leave_note(phase, waited_s)
        self._num_notes += 1
        # A process that was stopped as a whole, and goes on, first gives all ranks the time to answer.
        if waited_s < phase.patience_s or self._num_notes <= CHECKS // 2:
            return ""
        notes = self._read_notes()
        mute = self._sharing if self.rank in self._sharing else []
        silent = [rank for rank in mute if notes.get(rank) == self._before.get(rank)]
        self._num_notes, self._before = 0, notes
        elsewhere = [rank for rank in silent if self._hosts[rank] != self._hosts[self.rank]]
        self._cut_off = bool(elsewhere) or any(note.unanswered for note in notes.values())
        return self._report(phase, waited_s, silent, notes) if silent or self._cut_off or phase.measured else ""

    def _watch(self) -> None:
        while not self._done.wait(self.timeout_s / CHECKS):
            if report := self.check():
                self._end(report)

    def _end(self, report: str) -> None:
        """Print the report and end this process.

        If a host or the network is lost, the launcher's daemons on other hosts learn it from unanswered keepalives,
        which the kernel sends only while nothing else waits to be sent: the report, or the end of this process. So
        they go first.
        """
        if self._cut_off and self.rank:
            time.sleep(LAUNCHER_S)
        print(f"bnn_hvd: error: {report}", file=sys.stderr, flush=True)
        if self._cut_off and not self.rank:  # its report has no way to go
            time.sleep(LAUNCHER_S)
        os._exit(TrainingError.exit_code)  # the main thread is inside MPI, out of reach

    def _look(self) -> None:
        """Name the hosts that no longer answer, once for each time that they do not."""
        missed: list[str] = []
        while not self._done.wait(LOOK_S):
            before, missed = missed, self._unanswered()
            if missed and not before:
                print(
                    f"bnn_hvd: warning: rank {self.rank} on {socket.gethostname()} has no answer from "
                    f"{self._named(missed)}: the network between them is down, or the host is",
                    file=sys.stderr, flush=True,
                )  # fmt: skip

    def _leave_note(self, phase: Phase, waited_s: float) -> None:
        """Write what this rank does, where, and for how long: a new note differs from the last one."""
        if self.rank not in self._sharing:
            return
        self.folder.mkdir(exist_ok=True)
        path = self.folder / str(self.rank)
        with records.temporary(path) as file:
            file.write_text(records.to_json(self._note(phase, waited_s)))
            file.replace(path)  # nobody reads half a note

    def _note(self, phase: Phase, waited_s: float) -> Note:
        return Note(socket.gethostname(), f"in {phase.name} for {waited_s:.3f} s", self._unanswered())

    def _read_notes(self) -> dict[int, Note]:
        """Return the notes, by rank; of this rank alone if it does not share the folder."""
        if self.rank not in self._sharing:
            return {self.rank: self._note(self._now, self._clock() - self._now.since)}
        return {int(path.name): Note(*records.read_json(path)) for path in self.folder.glob("[0-9]*")}

    def _report(self, phase: Phase, waited_s: float, silent: list[int], notes: dict[int, Note]) -> str:
        parts = [f"rank {self.rank} on {socket.gethostname()} has waited {waited_s:.0f} s in {phase.name}"]
        lost = {note.host: note for _, note in sorted(notes.items()) if note.unanswered}
        if missed := [f"{host} has no answer from {self._named(note.unanswered)}" for host, note in lost.items()]:
            parts.append(f"the network between hosts is gone, or a host: {', and '.join(missed)}")
        if silent:
            parts.append(f"stalled: rank {', '.join(map(str, silent))}")
        elif len(self._sharing) < self.size:
            parts.append("nobody knows which ranks still answer, because their hosts do not share the run directory")
        else:
            others = [f"rank {rank} on {n.host}, {n.waits}" for rank, n in sorted(notes.items()) if rank != self.rank]
            parts.append(f"every rank still answers through the file system: {'; '.join(others)}")
        return "; ".join(parts) + ". The last checkpoint is kept"

    def _named(self, addresses: list[str]) -> str:
        return " and ".join(f"{self._host_of[one]} ({one})" if one in self._host_of else one for one in addresses)
