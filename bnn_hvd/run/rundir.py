"""Reads a run directory, and checks that a configuration and its data are those of the run."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bnn_hvd import config
from bnn_hvd.config import TrainConfig
from bnn_hvd.config.options import Values
from bnn_hvd.errors import UserError
from bnn_hvd.run import checkpoint, records
from bnn_hvd.run.checkpoint import Progress

PATHS = ("data_dir", "init_from")  # flags; config.cfg has them in full, as it is read from other folders too
ALTERNATIVES = (("epochs", "steps"), ("num_particles", "num_chains"))  # flags that say the same thing


def check_same_run(train_config: TrainConfig) -> None:
    """Raise UserError, with the flags that differ, if the run directory belongs to another configuration."""
    run = train_config.folder
    if not (run / records.CONFIG).exists():
        return
    there, here = with_full_paths(read_config(run)), with_full_paths(train_config)
    if there.method.init_from and not Path(there.method.init_from).exists():  # it was moved: its new place is taken
        there = there.replace(init_from=here.method.init_from)
    differing = config.differences(there, here)
    if differing:
        raise UserError(
            f"{run.absolute()} belongs to another configuration ({'; '.join(differing)}): give another --run, "
            f"or go on with this run by `train --run={run}` without these flags"
        )


def check_same_data(run: Path, fingerprint: dict[str, str], source: str) -> None:
    """Raise UserError if the run was trained on data with another fingerprint.

    fingerprint: of each part of the data (data/fingerprint.py). source: what the message calls these data.
    """
    if not (run / records.DATA).exists():
        return
    trained = read_data(run)["fingerprint"]
    differing = [part for part, digest in fingerprint.items() if trained[part] != digest]
    if differing:
        raise UserError(
            f"{run.absolute()} was trained on other data than {source} (the fingerprint of the {differing[0]} part: "
            f"{trained[differing[0]]} there, {fingerprint[differing[0]]} here): give the --data_dir of its data, or "
            "another --run"
        )


class View(NamedTuple):
    """What a rank sees where the run directory should be: hosts without a shared file system see different folders."""

    host: str
    there: bool  # a run directory
    step: int  # of its newest checkpoint


def view(run: Path) -> View:
    """Return what this process sees of a run."""
    newest = checkpoint.list_newest_first(run / records.CHECKPOINTS)[:1]
    return View(socket.gethostname(), (run / records.CONFIG).exists(), checkpoint.step_of(newest[0]) if newest else 0)


def check_views(run: Path, views: Sequence[View], same_flags: bool) -> None:
    """Check that rank 0, which alone reads and writes the run directory, sees all that there is of the run.

    views: of each rank. same_flags: whether all ranks have the same flags; a command that only names a run takes those
    of the run that it sees.

    Raises:
      UserError: another host has a newer checkpoint, or only some hosts see the flags of the run.
    """
    root = views[0]
    for rank, other in enumerate(views):
        if other.step > root.step:
            raise UserError(
                f"the run in {run.absolute()} is at step {other.step} on {other.host} (rank {rank}), and at step "
                f"{root.step} on {root.host}, which has rank 0: its file system is not shared. Start the job with "
                f"{other.host} as its first host, or copy the folder to {root.host}"
            )
        if other.there != root.there and not same_flags:
            seeing, blind = (root, other) if root.there else (other, root)
            raise UserError(
                f"{run.absolute()} is a run directory on {seeing.host}, and not on {blind.host}: its file system is "
                f"not shared, so give all flags of the run, as by --flagfile with a copy of its {records.CONFIG} on "
                "every host"
            )


def continued(flags: Values) -> Values:
    """Return the flags of a `train` command; one that only names a run that is there gets the flags of that run.

    A command with a flag that defines a run describes a run itself. One without, as `--run=R --epochs=20`, goes on with
    R wherever R is now.
    """
    fields = config.train_flags()
    if not flags.get("run") or not (Path(flags["run"]) / records.CONFIG).exists():
        return flags
    if flags.get("model") or any(fields[name].metadata["identity"] and name not in PATHS for name in flags):
        return flags
    replaced = {name for names in ALTERNATIVES if set(names) & set(flags) for name in names}
    stored = config.to_flags(read_config(Path(flags["run"])))
    return {name: value for name, value in stored.items() if name not in replaced | {"model"}} | flags


def with_full_paths(train_config: TrainConfig) -> TrainConfig:
    """Return the same with full paths, which mean the same in every folder."""
    values = config.to_flags(train_config)
    full = {name: str(Path(values[name]).expanduser().absolute()) for name in PATHS if values.get(name)}
    for name in ("architecture", "dataset"):
        place, colon, function = values[name].rpartition(":")
        if function.endswith(".keras"):
            place, colon, function = function, "", ""
        if place.endswith((".py", ".keras")):
            full[name] = f"{Path(place).expanduser().absolute()}{colon}{function}"
    return train_config.replace(**full)


def describe(train_config: TrainConfig, data: dict[str, Any]) -> None:
    """Write the configuration and the description of the data into the run directory."""
    run = train_config.folder
    records.write_text(run / records.CONFIG, config.to_flagfile(with_full_paths(train_config)))
    records.write_json(run / records.DATA, data)


def finished(train_config: TrainConfig, progress: Progress) -> bool:
    """Return whether a run has made all its --steps or --epochs, or has converged under --until_converged."""
    steps, epochs = train_config.run.steps, train_config.run.epochs
    if progress.converged:
        return True
    return progress.step >= steps if steps is not None else progress.epoch >= (epochs or 0)


def read_config(run: Path) -> TrainConfig:
    """Return the configuration of a run; UserError if it has none."""
    path = run / records.CONFIG
    if not path.exists():
        raise UserError(f"{run.absolute()} is not a run directory: it has no {records.CONFIG}; `train` makes one")
    flags = config.from_flagfile(path.read_text(errors="replace"), path)
    return config.resolve(**flags | {"run": str(run)})


def read_data(run: Path) -> dict[str, Any]:
    """Return the content of data.json.

    Raises:
      UserError: there is none, or it was written by a version that kept no fingerprint.
    """
    path = run / records.DATA
    if not path.exists():
        raise UserError(f"{run.absolute()} has no {records.DATA}: run `train` on it first")
    found = records.read_table(path)
    if not isinstance(found.get("fingerprint"), dict):
        raise UserError(f"{path} is of another version: use the version in {records.PROVENANCE} beside it")
    return found


def read_summary(run: Path) -> dict[str, Any]:
    """Return the summary that an earlier session of a run wrote; {} without one."""
    path = run / records.SUMMARY
    return records.read_table(path) if path.exists() else {}


def read_checkpoint(run: Path) -> dict[str, Any]:
    """Return the arrays of the newest checkpoint that is not damaged; UserError if there is none."""
    arrays = checkpoint.read_newest_good(run / records.CHECKPOINTS)
    if arrays is None:
        raise UserError(f"{(run / records.CHECKPOINTS).absolute()} has no readable checkpoint: run `train` on it first")
    return arrays
