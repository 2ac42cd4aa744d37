"""Lines that say that a long loop goes on, where nothing else is printed."""

import time
from collections.abc import Callable

QUIET_S = 10.0


class Heartbeat:
    """Passes a line on to `say` if none has been said for QUIET_S seconds."""

    def __init__(self, say: Callable[[str], None]):
        self._say, self._last = say, time.monotonic()

    def said(self) -> None:
        """Note that something else was printed."""
        self._last = time.monotonic()

    def beat(self, text: str) -> None:
        if time.monotonic() - self._last >= QUIET_S:
            self._say(text)
            self.said()
