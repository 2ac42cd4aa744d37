"""A flag is a dataclass field: its default, its section of the help, its choices and bounds."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from bnn_hvd import registry
from bnn_hvd.errors import UserError


def flag(
    default: Any,
    section: str,
    help: str,
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    identity: bool = True,
    required: bool = False,
) -> Any:
    """A dataclass field that becomes a command-line flag.

    `minimum` is a bound that `resolve` checks; `choices` are compared without regard to case. `identity`
    marks the flags that make a run what it is.
    """
    metadata = {
        "section": section, "help": help, "choices": tuple(choices), "minimum": minimum, "identity": identity,
        "required": required,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def check(config: Any) -> None:
    """Raise UserError unless every field is within its choices and bounds."""
    for field in dataclasses.fields(config):
        value, meta = getattr(config, field.name), field.metadata
        if meta["choices"] and value:
            registry.known(dict.fromkeys(meta["choices"]), value, f"--{field.name}")
        if meta["minimum"] is not None and value is not None and not value >= meta["minimum"]:
            raise UserError(f"--{field.name}={value} must be at least {meta['minimum']:g}")
        if meta["required"] and not value:
            raise UserError(f"--{field.name} is required: {meta['help']}")


def sections(config_type: type) -> Iterable[tuple[str, list[dataclasses.Field]]]:
    """Yield (section, fields) in the order of the fields."""
    grouped: dict[str, list[dataclasses.Field]] = {}
    for field in dataclasses.fields(config_type):
        grouped.setdefault(field.metadata["section"], []).append(field)
    return grouped.items()
