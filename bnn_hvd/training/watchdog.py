"""Ends a job in which a rank has stalled, so that a hung node does not use up the allocation.

A rank stalls if its node swaps, its file system hangs or the process is stopped. All other ranks then wait inside an
all-reduce, and MPI has no time-out. So a thread of each rank watches how long the current phase takes. After half of
its patience the thread begins to leave notes in the run directory, each with a new number. After all of it the thread
reads which ranks have left no new note meanwhile, names them, and ends the process. A job without a stall writes
nothing.

A phase may take long because it is long: one trajectory of hmc, or an evaluation of a large state. So the patience
follows the longest phase of its kind so far. Nobody knows the length of the first one: it ends the job only if a rank
leaves no notes.
"""

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import TrainingError
from bnn_hvd.run import records

SLOWER = 5.0  # times the longest phase of a kind so far: another one that takes as long has stalled
CHECKS = 8  # of the notes, in one time-out


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


class Watchdog:
    """While entered, ends this process if a rank has stalled. See above.

    timeout_s: the least patience; 0: never end the process.
    """

    def __init__(self, run: Path, ranks: Cluster, timeout_s: float, clock: Callable[[], float] = time.monotonic):
        self.folder, self.rank, self.size, self.timeout_s = run / records.WAITING, ranks.rank, ranks.size, timeout_s
        self._clock = clock
        self._longest_s: dict[str, float] = {}  # of one unit, by kind of phase
        self._now = Phase("the start", "start", 1, clock(), timeout_s, False)
        self._watched: Phase | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if ranks.is_root:
            shutil.rmtree(self.folder, ignore_errors=True)  # notes of a job before that stalled

    def __enter__(self) -> "Watchdog":
        if self.timeout_s and self.size > 1:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()

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
        silent = [rank for rank in range(self.size) if notes.get(rank) == self._before.get(rank)]
        self._num_notes, self._before = 0, notes
        return self._report(phase, waited_s, silent, notes) if silent or phase.measured else ""

    def _watch(self) -> None:
        while not self._done.wait(self.timeout_s / CHECKS):
            if report := self.check():
                print(f"bnn_hvd: error: {report}", file=sys.stderr, flush=True)
                os._exit(TrainingError.exit_code)  # the main thread is inside MPI, out of reach

    def _leave_note(self, phase: Phase, waited_s: float) -> None:
        """Write what this rank does, where, and for how long: a new note differs from the last one."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / str(self.rank)
        with records.temporary(path) as file:
            file.write_text(f"{socket.gethostname()}, in {phase.name} for {waited_s:.3f} s")
            file.replace(path)  # nobody reads half a note

    def _read_notes(self) -> dict[int, str]:
        """Return the notes, by rank."""
        return {int(note.name): note.read_text() for note in self.folder.glob("[0-9]*")}

    def _report(self, phase: Phase, waited_s: float, silent: list[int], notes: dict[int, str]) -> str:
        here = f"rank {self.rank} on {socket.gethostname()} has waited {waited_s:.0f} s in {phase.name}"
        if silent:
            return f"{here}; stalled: rank {', '.join(map(str, silent))}. The last checkpoint is kept"
        others = "; ".join(f"rank {rank} on {note}" for rank, note in sorted(notes.items()) if rank != self.rank)
        return f"{here}; every rank still answers: {others}. The last checkpoint is kept"
