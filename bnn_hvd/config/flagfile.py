"""A configuration as the text of a flagfile, and back."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bnn_hvd import registry
from bnn_hvd.errors import UserError

Config = TypeVar("Config")


def to_flagfile(config: Any) -> str:
    """Return the flagfile text that repeats `config`; flags left open are not written."""
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        made_up = field.name == "model" and value not in registry.MODELS  # by `model_name`: no flag takes it
        if value not in ("", None) and field.name != "dry_run" and not made_up:
            lines.append(f"--{field.name}={str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"


def from_flagfile(text: str, path: Path, config_type: Callable[..., Config]) -> Config:
    """Read what `to_flagfile` wrote: the run directory's own `config.cfg`."""
    pairs = dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("--"))
    types = {f.name: f.type for f in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    unknown = sorted(set(pairs) - set(types))
    if unknown:
        raise UserError(f"{path} has flags that this version does not know: {', '.join(unknown)}")
    return config_type(**{name: parse(types[name], value) for name, value in pairs.items()})


def parse(kind: Any, text: str) -> Any:
    """Return `text` as the type of a field."""
    if kind is bool:
        return text == "true"
    for number in (int, float):
        if kind in (number, number | None):
            return number(text)
    return text
