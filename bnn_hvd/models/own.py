"""Networks of the user's own: --architecture=FILE.py:FUNCTION, MODULE:FUNCTION or FILE.keras (run/own_code.py)."""

import inspect
from collections.abc import Callable
from typing import Any

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig
from bnn_hvd.run import records
from bnn_hvd.run.own_code import KERAS, OwnCode


def code_of(config: TrainConfig) -> OwnCode | None:
    """Return the file of a run's network, if it is one of the user's own."""
    architecture = config.network.architecture
    if not registry.is_own(architecture):
        return None
    suffix = KERAS if architecture.endswith(KERAS) else ".py"
    return OwnCode("architecture", architecture, config.folder / f"{records.NETWORK}{suffix}")


def first_parameter(function: Callable[..., Any]) -> str:
    """Return the name of the first parameter of a function; "" without one."""
    return next(iter(inspect.signature(function).parameters), "")
