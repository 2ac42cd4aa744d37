"""The reference of the flags: a page for each verb, from the dataclasses of bnn_hvd/config."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bnn_hvd import config, registry
from bnn_hvd.cli import VERBS
from bnn_hvd.config import Fields
from bnn_hvd.config.flags import fields_of, shown

OVERVIEW = """# Flags

    python -m bnn_hvd VERB --flag=value ...

`--flagfile=FILE` reads flags from a file, one per line. `VERB --help` prints what these pages say.

| verb | does |
|---|---|
"""


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its file in the site."""
    return {"flags/index.md": overview()} | {f"flags/{verb}.md": page(verb) for verb in VERBS}


def overview() -> str:
    """Return the page that lists the verbs."""
    purposes = {verb: (inspect.getdoc(kind.config_type) or "").splitlines()[0] for verb, kind in VERBS.items()}
    return OVERVIEW + "".join(f"| [{verb}]({verb}.md) | {purpose} |\n" for verb, purpose in purposes.items())


def page(verb: str) -> str:
    """Return the page of a verb: each flag with its default, its choices, and what does not use it.

    Of a study, the flags of its runs are named only: the page of `train` says what they do.
    """
    config_type = VERBS[verb].config_type
    flags = config.flags_of(config_type)
    own: Fields = fields_of(config_type) if issubclass(config_type, config.StudyConfig) else flags
    text = f"# {verb}\n\n{as_markdown(inspect.getdoc(config_type) or '')}\n"
    for section, fields in config.sections(own):
        title = f"`{section}`" if section.startswith("--") else _capital(section)
        text += f"\n## {title}\n" + "".join(entry(name, field) for name, field in fields.items())
    if runs := {name: field for name, field in flags.items() if name not in own}:
        text += "\n## Flags of the runs\n\nThe runs of the study take these flags:\n\n"
        text += "".join(f"- {_of_run(name, field)}\n" for name, field in runs.items())
    return text


def entry(name: str, field: dataclasses.Field) -> str:
    """Return what a page says of one flag, under a heading whose anchor is the name of the flag."""
    lines = [f"\n### `--{name}` {{ #{name} }}\n", _capital(as_markdown(field.metadata["help"])) + "."]
    if field.default not in ("", None):
        lines += ["", f"Default: `{shown(field.default)}`."]
    if choices := field.metadata["choices"]:
        lines += ["", *_choices(choices)]
    if rows := config.without_use(name, field):
        lines += ["", f"Not with {_listed(rows)}."]
    if defaults := config.with_own_default(name):
        lines += ["", f"Default with {', '.join(f'`{row}`: `{shown(value)}`' for row, value in defaults.items())}."]
    return "\n".join(lines) + "\n"


def as_markdown(text: str) -> str:
    """Return a help text as Markdown: flags as code, a page of docs/ as a link, all else as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if odd % 2 else _plain_part(part) for odd, part in enumerate(parts))


def _plain_part(text: str) -> str:
    text = re.sub(r"[<*|\\]", lambda found: f"&#{ord(found[0])};", text)
    text = re.sub(r"\bdocs/(\w+)\.md", r"[\1](../\1.md)", text)
    return re.sub(r"(?<![\w-])--\w+(=[\w./-]*\w)?", r"`\g<0>`", text)


def _choices(choices: Any) -> Iterator[str]:
    if isinstance(choices, Mapping) and all(isinstance(row, registry.Row) for row in choices.values()):
        yield from ("| value | is |", "|---|---|")
        yield from (f"| `{name}` | {as_markdown(row.help)} |" for name, row in choices.items())
    else:
        yield f"One of {_listed(choices)}."


def _of_run(name: str, field: dataclasses.Field) -> str:
    """Return the link to a flag of `train` or `predict`, and its default where a study has another."""
    verb = next(verb for verb in ("train", "predict") if name in config.flags_of(VERBS[verb].config_type))
    usual = config.flags_of(VERBS[verb].config_type)[name].default
    changed = "" if field.default == usual else f", here by default `{shown(field.default)}`"
    return f"[`--{name}`]({verb}.md#{name}){changed}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
