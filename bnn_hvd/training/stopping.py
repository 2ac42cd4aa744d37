"""Why a job ends early: a signal of the batch system, or --max_runtime_s."""

import signal
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """While entered, SIGTERM and SIGUSR1 do not end the process: they request that training stops.

    Ranks see a signal at different steps. `requested` is true on a rank that has seen it; the loop stops when the ranks
    have agreed.
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
