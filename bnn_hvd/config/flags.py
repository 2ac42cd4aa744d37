"""A flag is a dataclass field: its default, its section of the help, its choices and bounds."""

import dataclasses
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
    exclusive: bool = False,
) -> Any:
    """Return a dataclass field that becomes a command-line flag.

    name: of the flag, if it is not that of the field. choices: compared without regard to case. minimum, below: bounds
    that `check` enforces (value >= minimum, value < below). identity: whether the flag defines a run. exclusive:
    whether the flag is an error if the chosen network, method or data set does not have it.
    """
    metadata = {
        "name": name, "section": section, "help": help, "choices": choices, "minimum": minimum, "below": below,
        "identity": identity, "required": required, "exclusive": exclusive,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


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
    return registry.known(dict.fromkeys(choices), value) if choices and value else value


def sections(fields: Fields) -> Iterable[tuple[str, Fields]]:
    """Return (section, its flags) for each section, in the order of the fields."""
    grouped: dict[str, Fields] = {}
    for name, field in fields.items():
        grouped.setdefault(field.metadata["section"], {})[name] = field
    return grouped.items()
