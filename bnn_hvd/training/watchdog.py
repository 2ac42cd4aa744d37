"""Ends a job in which a rank has stalled, so that a hung node does not use up the allocation.

A rank stalls if its node swaps, its file system hangs or the process is stopped. All other ranks then wait inside an
all-reduce, and MPI has no time-out. So a thread of each rank watches how long the current phase takes. After half of
the time-out the thread leaves a note in the run directory. After all of it the thread reads which ranks have left no
note, names them, and ends the process. A job without a stall writes nothing.
"""

import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import TrainingError
from bnn_hvd.run.records import WAITING

START_PATIENCE = 10.0  # the first call traces and compiles


class Phase(NamedTuple):
    """What a rank does now, since when (seconds of the monotonic clock), and how long it may take."""

    name: str
    since: float
    timeout_s: float


class Watchdog:
    """While entered, ends this process if a phase takes longer than `timeout_s`; 0: never."""

    def __init__(self, run: Path, ranks: Cluster, timeout_s: float):
        self.folder, self.rank, self.size, self.timeout_s = run / WAITING, ranks.rank, ranks.size, timeout_s
        self.enter("the start", START_PATIENCE)
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

    def enter(self, phase: str, patience: float = 1.0) -> None:
        """Begin a phase. Every rank begins every phase.

        patience: how many time-outs the phase may take.
        """
        self._now = Phase(phase, time.monotonic(), self.timeout_s * patience)

    def _watch(self) -> None:
        noted = None
        while not self._done.wait(min(1.0, self.timeout_s / 8)):
            phase = self._now
            waited_s = time.monotonic() - phase.since
            if waited_s > phase.timeout_s:
                print(f"bnn_hvd: error: {self._report(waited_s)}", file=sys.stderr, flush=True)
                os._exit(TrainingError.exit_code)  # the main thread is inside MPI, out of reach
            if waited_s > phase.timeout_s / 2 and noted is not phase:
                self._leave_note(phase)
                noted = phase

    def _leave_note(self, phase: Phase) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / str(self.rank)).write_text(f"{socket.gethostname()}, in {phase.name}")

    def _report(self, waited_s: float) -> str:
        notes = {int(note.name): note.read_text() for note in self.folder.iterdir()}
        silent = [rank for rank in range(self.size) if rank not in notes]
        here = f"rank {self.rank} on {socket.gethostname()} has waited {waited_s:.0f} s in {self._now.name}"
        if silent:
            return f"{here}; stalled: rank {', '.join(map(str, silent))}. The last checkpoint is kept"
        others = "; ".join(f"rank {rank} on {note}" for rank, note in sorted(notes.items()) if rank != self.rank)
        return f"{here}; every rank still answers: {others}. The last checkpoint is kept"
