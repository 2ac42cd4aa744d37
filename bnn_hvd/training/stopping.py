"""Why a job ends early: a signal of the batch system, Ctrl-C, or --max_runtime_s."""

import signal
import time
from types import FrameType
from typing import Any

from bnn_hvd.distributed import launcher

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """While entered, SIGTERM, SIGUSR1 and SIGINT (Ctrl-C) do not end the process: they request that training stops.

    Ranks see a signal at different steps. `requested` is true on a rank that has seen it; the loop stops when the ranks
    have agreed. A second Ctrl-C ends the process at once, except under a launcher, which passes on signals of its own.
    """

    def __init__(self, max_runtime_s: float):
        self._deadline = time.monotonic() + max_runtime_s if max_runtime_s else None
        self._signalled = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            # A shell lets its jobs in the background ignore SIGINT.
            if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        return self._signalled or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        if number == signal.SIGINT and not launcher.started_by_launcher():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
