"""The network, the method and the data set: what there is to choose, and the options of what is chosen."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bnn_hvd import registry
from bnn_hvd.config.flags import Fields, fields_of
from bnn_hvd.config.options import DataOptions, MethodOptions, NetworkOptions, Options, Values, options_of


class Choice(NamedTuple):
    """A choice among the rows of a registry, on which the options of a part depend.

    flag: that makes it; default: the row that is taken without it; base: the options of a row that names none.
    """

    flag: str
    rows: Mapping[str, registry.Row]
    default: str
    base: type[Options]

    def options_of(self, name: str) -> type[Options]:
        row = self.rows[registry.known(self.rows, name or self.default)]
        return options_of(row) if row.options else self.base

    def fields_of(self, name: str) -> Fields:
        """Return the flags of the options of a row."""
        return fields_of(self.options_of(name))  # type: ignore[arg-type] # mypy takes the __hash__ of an instance

    def names_with(self, fact: str) -> list[str]:
        """Return the names of the rows of which a fact is true, a class attribute of their options."""
        return [name for name in self.rows if getattr(self.options_of(name), fact)]


CHOICES = {
    "network": Choice("architecture", registry.NETWORKS, "conv", NetworkOptions),
    "method": Choice("method", registry.METHODS, "vi", MethodOptions),
    "data": Choice("dataset", registry.DATASETS, "digits", DataOptions),
}


def options_types(values: Values) -> dict[str, type[Options]]:
    """Return the options classes of what is chosen, by part."""
    return {part: choice.options_of(values[choice.flag]) for part, choice in CHOICES.items()}


def default_options(part: str, name: str) -> Any:
    """Return the options of a data set, network or method with their defaults."""
    return CHOICES[part].options_of(name)()


def own_defaults(values: Values) -> Values:
    """Return the defaults of common flags that what is chosen, or the named model, has in place of the usual ones."""
    of_parts = {name: value for options in options_types(values).values() for name, value in options.defaults.items()}
    return of_parts | registry.MODEL_DEFAULTS.get(values["model"], {})
