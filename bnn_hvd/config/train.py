"""All flags of `train`: six parts, and the options of the network, the method and the data set that are chosen."""

import dataclasses
from pathlib import Path
from typing import Any

from bnn_hvd.config import usage
from bnn_hvd.config.choices import CHOICES, options_types, own_defaults
from bnn_hvd.config.data import DataConfig
from bnn_hvd.config.flags import Fields, fields_of, with_defaults
from bnn_hvd.config.machine import MachineConfig
from bnn_hvd.config.method import MethodConfig
from bnn_hvd.config.network import NetworkConfig
from bnn_hvd.config.options import Values
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
        return compose(**(_values(self) | flags))


PARTS = {
    "run": RunConfig, "network": NetworkConfig, "method": MethodConfig, "data": DataConfig,
    "schedule": ScheduleConfig, "machine": MachineConfig,
}  # fmt: skip


def train_flags() -> Fields:
    """Return every flag of `train`: of the parts, and of all networks, methods and data sets."""
    fields: Fields = {}
    for part, part_type in PARTS.items():
        fields |= fields_of(part_type)
        if part in CHOICES:
            for name in CHOICES[part].rows:
                fields |= CHOICES[part].fields_of(name)
    return fields


def compose(**flags: Any) -> TrainConfig:
    """Return the configuration of some flags; the others have their defaults, and nothing is filled in or checked.

    Defaults are those of the chosen method and data set. Options of what is not chosen are left out.

    Raises:
      TypeError: an unknown flag.
    """
    values = with_defaults(train_flags(), flags)
    values |= {name: value for name, value in own_defaults(values).items() if name not in flags}
    parts = {part: _take(part_type, values) for part, part_type in PARTS.items()}
    for part, options_type in options_types(values).items():
        parts[part] = dataclasses.replace(parts[part], options=_take(options_type, values))
    return TrainConfig(**parts)


def to_flags(config: TrainConfig) -> Values:
    """Return the value of each flag that `config` uses, by name."""
    return usage.used(train_flags(), _values(config))


def _values(config: TrainConfig) -> Values:
    """Return the value of each flag of the parts and of what is chosen, used or not."""
    values: Values = {}
    for part in PARTS:
        mine = getattr(config, part)
        for holder in (mine, getattr(mine, "options", None)):
            if holder is not None:
                fields = fields_of(type(holder))  # type: ignore[arg-type] # mypy takes the __hash__ of an instance
                values |= {name: getattr(holder, field.name) for name, field in fields.items()}
    return values


def _take(config_type: type, values: Values) -> Any:
    return config_type(**{field.name: values[name] for name, field in fields_of(config_type).items()})
