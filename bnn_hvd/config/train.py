"""All flags of `train`: six parts, and the options of the network, the method and the data set that are chosen."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bnn_hvd import registry
from bnn_hvd.config.data import DataConfig
from bnn_hvd.config.flags import Fields, fields_of, with_defaults
from bnn_hvd.config.machine import MachineConfig
from bnn_hvd.config.method import MethodConfig
from bnn_hvd.config.network import NetworkConfig
from bnn_hvd.config.options import DataOptions, MethodOptions, NetworkOptions, Options, Values, options_of
from bnn_hvd.config.run import RunConfig
from bnn_hvd.config.schedule import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Train a network, or go on with a run that stopped."""

    run: RunConfig
    data: DataConfig
    network: NetworkConfig
    method: MethodConfig
    schedule: ScheduleConfig
    machine: MachineConfig

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self.run.folder)

    def replace(self, **flags: Any) -> "TrainConfig":
        """Return the same with other values of some flags; nothing is filled in or checked."""
        return compose(**(to_flags(self) | flags))


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

    def names_with(self, fact: str) -> list[str]:
        """Return the names of the rows of which a fact is true, a class attribute of their options."""
        return [name for name in self.rows if getattr(self.options_of(name), fact)]


PARTS = {
    "run": RunConfig, "network": NetworkConfig, "method": MethodConfig, "data": DataConfig,
    "schedule": ScheduleConfig, "machine": MachineConfig,
}  # fmt: skip
CHOICES = {
    "network": Choice("architecture", registry.NETWORKS, "conv", NetworkOptions),
    "method": Choice("method", registry.METHODS, "vi", MethodOptions),
    "data": Choice("dataset", registry.DATASETS, "digits", DataOptions),
}


def train_flags() -> Fields:
    """Return every flag of `train`: of the parts, and of all networks, methods and data sets."""
    fields: Fields = {}
    for part, part_type in PARTS.items():
        fields |= fields_of(part_type)
        if part in CHOICES:
            for name in CHOICES[part].rows:
                fields |= fields_of(CHOICES[part].options_of(name))
    return fields


def options_types(values: Values) -> dict[str, type[Options]]:
    """Return the options classes of what is chosen, by part."""
    return {part: choice.options_of(values[choice.flag]) for part, choice in CHOICES.items()}


def default_options(part: str, name: str) -> Any:
    """Return the options of a data set, network or method with their defaults."""
    return CHOICES[part].options_of(name)()


def compose(**flags: Any) -> TrainConfig:
    """Return the configuration of some flags; the others have their defaults, and nothing is filled in or checked.

    Options of methods, networks and data sets that are not chosen are left out.

    Raises:
      TypeError: an unknown flag.
    """
    values = with_defaults(train_flags(), flags)
    parts = {part: _take(part_type, values) for part, part_type in PARTS.items()}
    for part, options_type in options_types(values).items():
        parts[part] = dataclasses.replace(parts[part], options=_take(options_type, values))
    return TrainConfig(**parts)


def to_flags(config: TrainConfig) -> Values:
    """Return the value of each flag that `config` has, by name."""
    values: Values = {}
    for part in PARTS:
        mine = getattr(config, part)
        for holder in (mine, getattr(mine, "options", None)):
            if holder is not None:
                values |= {name: getattr(holder, field.name) for name, field in fields_of(type(holder)).items()}
    return values


def _take(config_type: type, values: Values) -> Any:
    return config_type(**{field.name: values[name] for name, field in fields_of(config_type).items()})
