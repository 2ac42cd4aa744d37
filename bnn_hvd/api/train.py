"""Training from Python, by the code of the command line."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd import config
from bnn_hvd.api.run import Run, load
from bnn_hvd.config import TrainConfig
from bnn_hvd.distributed import environment
from bnn_hvd.errors import UserError
from bnn_hvd.run import records, rundir

PARTS = ("x_train", "y_train", "x_test", "y_test")
DATA, KERAS_MODEL = "data.npz", f"{records.NETWORK}.keras"  # in the run directory


def train(
    network: str | Callable[..., Any] | Any = "", data: tuple[Any, ...] | Mapping[str, Any] | None = None,
    run: str | Path = "", **flags: Any,
) -> Run:  # fmt: skip
    """Train a run, or go on with one, as `python -m bnn_hvd train` does, in this process; return the run.

    network: as --architecture: "lenet5", "my_net.py:my_net", "my_model.py:build" or "my_model.keras". Or a function of
      a file, or a keras.Model, of which the run keeps a copy; its weights are initialised anew.
    data: (x_train, y_train, x_test, y_test), or without a test part the first two, or a dict with these keys, as in the
      .npz of --dataset=npz; real targets need likelihood="gaussian" or "heteroscedastic". The run directory keeps the
      data as data.npz. Without it, flags name the data: dataset="mnist", data_dir="mnist.npz".
    run: the run directory. train(run="runs/mine") alone goes on with it.
    flags: those of `train`, as method="ivon", epochs=10, batch_size=32.

    Ctrl-C, as the other signals, stops at a checkpoint; summary["status"] is then "interrupted".

    Raises:
      UserError: a flag, the network or the data are refused.
      TrainingError: training can't continue, as the loss is not finite.
    """
    environment.prepare()
    given = {name: value for name, value in {**flags, "run": str(run)}.items() if value not in ("", None)}
    folder = Path(run)
    made: list[Path] = []
    try:
        if data is not None:
            _check_named(run, "data")
            given |= {"dataset": "npz", "data_dir": str(_keep_data(folder, data, made).absolute())}
        if network != "":
            given["architecture"] = network if isinstance(network, str) else _place_of(network, folder, made)
        resolved: TrainConfig = config.make(TrainConfig, **rundir.continued(given))
        from bnn_hvd.training import train as training

        training.main(resolved)
    except UserError:
        _remove(folder, made)
        raise
    return load(resolved.folder, resolved.machine.threads)


def _keep_data(folder: Path, data: tuple[Any, ...] | Mapping[str, Any], made: list[Path]) -> Path:
    """Write the data into the run directory, and note the file in `made`; a run that has its data keeps them.

    Raises:
      UserError: parts are missing, or the run has other data.
    """
    if not isinstance(data, Mapping):
        if len(data) not in (2, len(PARTS)):
            raise UserError(
                f"data has {len(data)} parts: give ({', '.join(PARTS)}), the first two, or a dict with these keys"
            )
        data = dict(zip(PARTS, data, strict=False))
    parts, path = {name: np.asarray(part) for name, part in data.items()}, folder / DATA
    if path.is_file():
        with np.load(path) as kept:
            if set(kept) != set(parts) or not all(np.array_equal(kept[name], part) for name, part in parts.items()):
                raise UserError(f"{path} has other data than these: give another run")
        return path
    if wrong := [name for name, part in parts.items() if part.dtype.kind == "O"]:
        raise UserError(f"data: {wrong[0]} is no array of numbers or words: give one, with equal rows")
    _make_folder(folder)
    made.append(path)
    records.write_npz(path, parts)
    return path


def _place_of(network: Any, folder: Path, made: list[Path]) -> str:
    """Return the --architecture of a function or of a Keras model; a model is saved in the run directory.

    Raises:
      UserError: the function is in no file, or it is neither; or the run has another model.
    """
    if inspect.isfunction(network):
        file, name = inspect.getsourcefile(network) or "", network.__qualname__
        if not Path(file).is_file() or not name.isidentifier():
            raise UserError(
                f"the function {name} is not at the top of a file, of which the run keeps a copy: write it to a file"
            )
        return f"{Path(file).absolute()}:{name}"
    import keras

    if not isinstance(network, keras.Model):
        raise UserError(f"network is {type(network).__name__}: give a name, a function or a keras.Model")
    _check_named(folder if folder.name else "", "a keras.Model")
    path = folder / KERAS_MODEL
    shapes = [tuple(v.shape) for v in network.trainable_variables]
    if path.is_file():
        kept = keras.saving.load_model(path, compile=False)
        if [tuple(v.shape) for v in kept.trainable_variables] != shapes:
            raise UserError(f"{path} is another model: give another run")
        return str(path.absolute())
    _make_folder(folder)
    made.append(path)
    with records.temporary(path) as file_path:
        saved = file_path.with_suffix(".keras")
        network.save(saved)
        records.publish(saved, path)
    return str(path.absolute())


def _check_named(run: str | Path, what: str) -> None:
    if not str(run):
        raise UserError(f"{what} is kept in the run directory: name it, as run='runs/mine'")


def _remove(folder: Path, made: list[Path]) -> None:
    """Remove the files that a refused call has made, and the folder if nothing else but its lock is in it."""
    for path in made:
        path.unlink()
    if made and {path.name for path in folder.iterdir()} <= {records.LOCK}:
        (folder / records.LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _make_folder(folder: Path) -> None:
    records.check_writable("the run directory", folder, "run")
    folder.mkdir(parents=True, exist_ok=True)
