"""Reads a run directory, and checks that it fits a configuration."""

from pathlib import Path
from typing import Any

from bnn_hvd import config
from bnn_hvd.config import TrainConfig
from bnn_hvd.errors import UserError
from bnn_hvd.run import checkpoint, records


def check_same_run(train_config: TrainConfig) -> None:
    """Raise UserError, with the flags that differ, if the run directory belongs to another configuration."""
    run = train_config.folder
    if not (run / records.CONFIG).exists():
        return
    differing = config.differences(read_config(run), train_config)
    if differing:
        raise UserError(
            f"{run.absolute()} belongs to another configuration ({'; '.join(differing)}): give another --run, "
            f"or continue this run with --flagfile={run / records.CONFIG}"
        )


def describe(train_config: TrainConfig, data: dict[str, Any]) -> None:
    """Write the configuration and the description of the data into the run directory."""
    run = train_config.folder
    records.write_text(run / records.CONFIG, config.to_flagfile(train_config))
    records.write_json(run / records.DATA, data)


def read_config(run: Path) -> TrainConfig:
    """Return the configuration of a run; UserError if it has none."""
    path = run / records.CONFIG
    if not path.exists():
        raise UserError(f"{run.absolute()} is not a run directory: it has no {records.CONFIG}; `train` makes one")
    flags = config.from_flagfile(path.read_text(), path)
    return config.resolve(**flags | {"run": str(run)})


def read_data(run: Path) -> dict[str, Any]:
    """Return the content of data.json; UserError if there is none."""
    path = run / records.DATA
    if not path.exists():
        raise UserError(f"{run.absolute()} has no {records.DATA}: run `train` on it first")
    return records.read_json(path)


def read_checkpoint(run: Path) -> dict[str, Any]:
    """Return the arrays of the newest checkpoint that is not damaged; UserError if there is none."""
    arrays = checkpoint.read_newest_good(run / records.CHECKPOINTS)
    if arrays is None:
        raise UserError(f"{(run / records.CHECKPOINTS).absolute()} has no readable checkpoint: run `train` on it first")
    return arrays
