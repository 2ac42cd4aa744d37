"""A flag is a dataclass field: its default, its section of the help, its choices and bounds."""

import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bnn_hvd import registry
from bnn_hvd.errors import UserError

Fields = dict[str, dataclasses.Field]  # by the name of the flag


def flag(
    default: Any,
    section: str,
    help: str,
    *,
    name: str = "",
    choices: Collection[str] = (),
    minimum: float | None = None,
    below: float | None = None,
    identity: bool = True,
    required: bool = False,
    by: tuple[str, ...] = (),
    needs: str = "",
    without: str = "",
) -> Any:
    """Return a dataclass field that becomes a command-line flag.

    name: of the flag, if it is not that of the field. choices: compared without regard to case. minimum, below: bounds
    that `check` enforces (value >= minimum, value < below). identity: whether the flag defines a run.

    A flag of `train` that is not used is an error when it is given (config/usage.py). by: the parts (method, data)
    that use it only if the options of what is chosen say so. needs: `flag=value`, or a flag with any value, without
    which this one changes nothing; without: one with which it changes nothing.
    """
    metadata = {
        "name": name, "section": section, "help": help, "choices": choices, "minimum": minimum, "below": below,
        "identity": identity, "required": required, "by": by, "needs": needs, "without": without,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@functools.cache
def fields_of(config_type: type) -> Fields:
    """Return the flags of a dataclass: its fields that have a section."""
    fields = [field for field in dataclasses.fields(config_type) if "section" in field.metadata]
    return {field.metadata["name"] or field.name: field for field in fields}


def with_defaults(fields: Fields, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every flag: the given one, or its default.

    Raises:
      TypeError: an unknown flag.
    """
    if unknown := set(given) - set(fields):
        raise TypeError(f"unknown flags: {', '.join(sorted(unknown))}")
    return {name: field.default for name, field in fields.items()} | dict(given)


def check(fields: Fields, values: Mapping[str, Any]) -> None:
    """Raise UserError unless every value is within the choices and bounds of its flag."""
    for name, field in fields.items():
        value, meta = values[name], field.metadata
        if meta["choices"] and value:
            registry.known(dict.fromkeys(meta["choices"]), value, f"--{name}")
        if meta["minimum"] is not None and value is not None and not value >= meta["minimum"]:
            raise UserError(f"--{name}={value} must be at least {meta['minimum']:g}")
        if meta["below"] is not None and value is not None and not value < meta["below"]:
            raise UserError(f"--{name}={value} must be below {meta['below']:g}")
        if meta["required"] and not value:
            raise UserError(f"--{name} is required: {meta['help']}")


def canonical(field: dataclasses.Field, value: Any) -> Any:
    """Return a choice in the spelling of the registry: --model=bnn_fc_flip is BNN_FC_flip."""
    choices = field.metadata["choices"]
    if not choices or not value or registry.known(dict.fromkeys(choices), value) == registry.OWN:
        return value
    return registry.known(dict.fromkeys(choices), value)


def shown(value: Any) -> str:
    """Return a value as in a flagfile."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def sections(fields: Fields) -> Iterable[tuple[str, Fields]]:
    """Return (section, its flags) for each section, in the order of the fields."""
    grouped: dict[str, Fields] = {}
    for name, field in fields.items():
        grouped.setdefault(field.metadata["section"], {})[name] = field
    return grouped.items()
