"""Runs the verb `train` in this process, and records the time of each of its phases.

Each function that is a phase is replaced by one that calls it and records its start and end.
"""

import functools
import pkgutil
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Event(NamedTuple):
    """A phase, in seconds since the epoch."""

    phase: str
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


class Watch:
    """Collects events. Nested events come before those that contain them."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that calls `function` and records the call."""

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            start = time.time()
            try:
                return function(*args, **named)
            finally:
                self.events.append(Event(phase, start, time.time()))

        return call

    def train(self, flags: list[str]) -> int:
        """Run `python -m bnn_hvd train *flags` and return its exit code."""
        cli, resolve = self._import_cli(), pkgutil.resolve_name

        def resolve_and_watch(name: str) -> Any:
            pkgutil.resolve_name = resolve
            target = self.timed("import TensorFlow and bnn_hvd", resolve)(name)
            self._watch_train()
            return target

        pkgutil.resolve_name = resolve_and_watch  # cli calls it once, to import the verb
        return cli.main(["bnn_hvd", "train", *flags])

    def _import_cli(self) -> Any:
        start = time.time()
        from bnn_hvd import cli

        self.events.append(Event("import the command line", start, time.time()))
        return cli

    def _watch_train(self) -> None:
        """Replace the functions that `bnn_hvd.training.train.main` calls."""
        from bnn_hvd.data import sources, standardize
        from bnn_hvd.distributed import cluster, machine
        from bnn_hvd.training import task, train

        for owner, name, phase in (
            (sources, "load_configured", "data: read"),
            (standardize, "fit", "data: standardisation"),
            (train, "Examples", "data: to TensorFlow"),
            (cluster, "connect", "join the ranks"),
            (machine, "set_up", "start TensorFlow"),
            (task, "build_network", "network"),
            (task, "Population", "restore, broadcast"),
            (train, "write_start", "run directory"),
            (train, "fit", "fit"),
        ):
            setattr(owner, name, self.timed(phase, getattr(owner, name)))
        compile_loop = train.compile_loop

        def watched_loop(step: Any, *args: Any) -> Any:
            return self.timed("call", compile_loop(self.timed("trace", step), *args))

        train.compile_loop = watched_loop
