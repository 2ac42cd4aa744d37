"""Which flags of `train` are used: a flag that would change nothing is refused when it is given.

The parts themselves say it. A network, a method and a data set have flags of their own, and name in `takes` the common
flags that they use (config/options.py). A flag names the value of another flag that it needs, or that excludes it.
"""

import dataclasses

from bnn_hvd import registry
from bnn_hvd.config.choices import CHOICES, options_types
from bnn_hvd.config.flags import Fields
from bnn_hvd.config.options import Values


def why_unused(name: str, field: dataclasses.Field, values: Values) -> str:
    """Return why a flag changes nothing beside the other `values`, as the end of a sentence; "" if it is used."""
    return not_taken(name, field, values) or not_fitting(field, values)


def not_taken(name: str, field: dataclasses.Field, values: Values) -> str:
    """Return why the chosen network, method and data set do not use a flag; "" if they do."""
    if (owners := _owners(name)) and not any(name in CHOICES[part].fields_of(_chosen(part, values)) for part in owners):
        rows = " or ".join(f"--{CHOICES[part].flag}={' or '.join(names)}" for part, names in owners.items())
        return f"is of {rows}, not of {' and '.join(_chosen(part, values) for part in owners)}: leave it out"
    for part in field.metadata["by"]:
        flag = CHOICES[part].flag
        if name not in options_types(values)[part].takes:
            return f"is not used by --{flag}={_chosen(part, values)}: leave it out, or take another --{flag}"
    return ""


def not_fitting(field: dataclasses.Field, values: Values) -> str:
    """Return which other flag makes a flag useless; "" if none does."""
    needs, without = field.metadata["needs"], field.metadata["without"]
    if needs and not _holds(needs, values):
        return f"needs --{needs}: give that too, or leave it out"
    if without and _holds(without, values):
        return f"changes nothing with --{without}={values[without]}: leave one of the two out"
    return ""


def without_use(name: str, field: dataclasses.Field) -> list[str]:
    """Return the rows of the registries that do not use a common flag."""
    return [
        row for part in field.metadata["by"] for row in CHOICES[part].rows
        if name not in CHOICES[part].options_of(row).takes
    ]  # fmt: skip


def with_own_default(name: str) -> Values:
    """Return the defaults of a common flag that differ from the usual one, by the row of the registry that has them."""
    found = {row: choice.options_of(row).defaults for choice in CHOICES.values() for row in choice.rows}
    found |= registry.MODEL_DEFAULTS
    return {row: defaults[name] for row, defaults in found.items() if name in defaults}


def used(fields: Fields, values: Values) -> Values:
    """Return the values of the flags that are used."""
    return {name: value for name, value in values.items() if not why_unused(name, fields[name], values)}


def _owners(name: str) -> dict[str, list[str]]:
    """Return the names of the networks, methods and data sets that have this flag of their own, by part."""
    found = {
        part: [row for row in choice.rows if name in choice.fields_of(row)] for part, choice in CHOICES.items()
    }  # fmt: skip
    return {part: names for part, names in found.items() if names}


def _chosen(part: str, values: Values) -> str:
    choice = CHOICES[part]
    return registry.known(choice.rows, values[choice.flag] or choice.default)


def _holds(condition: str, values: Values) -> bool:
    """Return whether a condition holds: `flag=value`, or `flag`, which any value but 0 and "" satisfies."""
    name, _, value = condition.partition("=")
    return values[name] == value if value else bool(values[name])
