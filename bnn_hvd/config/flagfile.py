"""A configuration as the text of a flagfile, and back."""

from pathlib import Path
from typing import Any

from bnn_hvd import registry
from bnn_hvd.config.options import Values
from bnn_hvd.config.train import TrainConfig, to_flags, train_flags
from bnn_hvd.errors import UserError


def to_flagfile(config: TrainConfig) -> str:
    """Return the text of a flagfile that repeats `config`; flags without a value are left out."""
    lines = []
    for name, value in to_flags(config).items():
        composed = name == "model" and value not in registry.MODELS  # by `model_name`: --model does not take it
        if value not in ("", None) and name != "dry_run" and not composed:
            lines.append(f"--{name}={str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"


def from_flagfile(text: str, path: Path) -> Values:
    """Return the flags in a text of `to_flagfile`; `path` is its file, `config.cfg` of a run."""
    pairs = dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("--"))
    fields = train_flags()
    unknown = sorted(set(pairs) - set(fields))
    if unknown:
        raise UserError(
            f"{path} has flags that this version does not know: {', '.join(unknown)}; use the version in "
            "provenance.json beside it"
        )
    return {name: parse(fields[name].type, value) for name, value in pairs.items()}


def parse(kind: Any, text: str) -> Any:
    """Return `text` as a value of the type `kind` of a field."""
    if kind is bool:
        return text == "true"
    for number in (int, float):
        if kind in (number, number | None):
            return number(text)
    return text
