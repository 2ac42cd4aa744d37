"""Flagfiles: a flag per line. A configuration as the text of one, and back; and those among the words of a command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnn_hvd import registry
from bnn_hvd.config.flags import Fields, shown
from bnn_hvd.config.options import Values
from bnn_hvd.config.train import TrainConfig, to_flags, train_flags
from bnn_hvd.errors import UserError


def to_flagfile(config: TrainConfig) -> str:
    """Return the text of a flagfile that repeats `config`; flags without a value are left out."""
    lines = []
    for name, value in to_flags(config).items():
        composed = name == "model" and value not in registry.MODELS  # by `model_name`: --model does not take it
        if value not in ("", None) and name != "dry_run" and not composed:
            lines.append(f"--{name}={shown(value)}")
    return "\n".join(lines) + "\n"


def from_flagfile(text: str, path: Path) -> Values:
    """Return the flags in a text of `to_flagfile`; `path` is its file, `config.cfg` of a run."""
    pairs = dict(line[2:].partition("=")[::2] for line in text.splitlines() if line.startswith("--"))
    fields = train_flags()
    unknown = sorted(set(pairs) - set(fields))
    if unknown:
        raise UserError(
            f"{path} has flags that this version does not know: {', '.join(unknown)}; use the version in "
            "provenance.json beside it"
        )
    try:
        return {name: parse(fields[name].type, value) for name, value in pairs.items()}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): copy it again") from None


def read_flagfile(path: Path, fields: Fields) -> Values:
    """Return the flags in a flagfile, by name, and in those that it includes.

    fields: the flags that it may have.

    Raises:
      UserError: it can't be read, has another flag, or a value of the wrong type.
    """
    found: Values = {}
    for word in expand([f"--flagfile={path}"]):
        name, equals, text = word.lstrip("-").partition("=")
        if not equals and name not in fields and name.startswith("no"):
            name, equals, text = name[2:], "=", "false"  # absl's way to say no
        if not word.startswith("-") or name not in fields:
            raise UserError(f"{path}: {word!r} is no flag of a run: remove the line, or see `train --help`")
        try:
            found[name] = parse(fields[name].type, text if equals else "true")
        except ValueError:
            raise UserError(f"{path}: {word} must be a number: correct the line") from None
    return found


def parse(kind: Any, text: str) -> Any:
    """Return `text` as a value of the type `kind` of a field."""
    if kind is bool:
        return text == "true"
    for number in (int, float):
        if kind in (number, number | None):
            return number(text)
    return text


def expand(words: Sequence[str], inside: tuple[Path, ...] = ()) -> list[str]:
    """Return the words of a command, with the flags in each --flagfile=FILE in its place.

    inside: the flagfiles that these words are in. A path in a flagfile is relative to the folder of that file; `#` and
    `//` begin a comment line.

    Raises:
      UserError: a flagfile can't be read, is no text, or is among the flagfiles that it includes.
    """
    plain: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            plain.append(word)
            continue
        if not equals:
            value = waiting.pop(0) if waiting else ""
        path = Path(inside[-1].parent if inside else "", Path(value.strip()).expanduser()).absolute()
        if not value.strip():
            raise UserError("--flagfile has no value: give --flagfile=FILE, or leave it out")
        if path in inside:
            raise UserError(f"--flagfile={path} includes itself, by {inside[-1]}: remove that line")
        lines = [line.strip() for line in _read(path).splitlines()]
        plain += expand([line for line in lines if line and not line.startswith(("#", "//"))], (*inside, path))
    return plain


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        if "\0" not in text:
            return text
        why = "it is no text"
    except UnicodeDecodeError:
        why = "it is no text"
    except OSError as error:
        why = error.strerror or str(error)
    raise UserError(f"--flagfile={path} can't be read ({why}): give a text file with a flag per line, as in configs/")
