"""When a job must end early: a signal of the batch system, or its own limit on the run time."""

import signal
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """While entered, SIGTERM and SIGUSR1 (however often) only note that training should stop.

    Ranks see a signal at different steps: `requested` is this rank's view, and the loop lets all ranks
    agree before it acts on it.
    """

    def __init__(self, max_runtime_s: float):
        self._deadline = time.monotonic() + max_runtime_s if max_runtime_s else None
        self._signalled = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        return self._signalled or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
