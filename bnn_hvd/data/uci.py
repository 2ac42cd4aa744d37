"""A table of numbers that comes with its train-test splits, as the UCI regression sets of the literature do.

Those splits are of Hernandez-Lobato & Adams (2015), "Probabilistic backpropagation"; Gal & Ghahramani (2016) and later
papers use them too.
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path

import numpy as np

from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import FILES, REAL_TARGETS, DataOptions
from bnn_hvd.data import formats
from bnn_hvd.data import split as splitting
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.own_arrays import inputs
from bnn_hvd.data.places import existing
from bnn_hvd.data.table import encode_target
from bnn_hvd.errors import UserError

TABLE, FEATURES, TARGET = "data.txt", "index_features.txt", "index_target.txt"


@dataclasses.dataclass(frozen=True)
class UciOptions(DataOptions):
    """Flags of a table with splits."""

    takes = FILES | REAL_TARGETS | {"standardize"}
    by_likelihood = True

    split: int = flag(0, "data", "which of the splits that come with a table of --dataset=uci, from 0", minimum=0)
    tuning_fraction: float = flag(
        0.0, "data", "hold out this part of the split's training rows, in [0, 1), in place of its test rows, which are "
        "left out: to choose flags without them; 0: the test rows of the split", minimum=0, below=1,
    )  # fmt: skip


def uci(path: str, *, split: int = 0, tuning_fraction: float = 0.0, likelihood: str = "") -> Arrays:
    """Read a table and one of its splits.

    It is an .npz of x [N, D], y [N] and the test rows test_index_0, test_index_1, ...; or a folder as it was published,
    of data.txt, index_features.txt, index_target.txt, index_test_0.txt, ... The training rows are those that are not
    test rows, unless train_index_0, ... (index_train_0.txt, ...) name them. y are real values, or with
    likelihood=categorical classes.

    Raises:
      UserError: a file is missing or broken, or there is no such split.
    """
    file = existing(path, "uci")
    _check_split(split, num_splits(path), file)
    x, y, rows = (_read_folder if file.is_dir() else _read_npz)(file, split)
    x = inputs(x, "x", file)[:]
    if x.ndim != 2 or y.shape != (len(x),):
        raise UserError(f"{file}: x must be [N, D] and y [N], but they are {list(x.shape)} and {list(y.shape)}")
    test = _checked(rows["test"], len(x), f"{file}: the test rows of split {split}")
    others = np.setdiff1d(np.arange(len(x)), test)
    train = _checked(rows.get("train", others), len(x), f"{file}: the training rows of split {split}")
    if shared := np.intersect1d(train, test).size:
        raise UserError(f"{file}: split {split} has {shared} rows in both parts: correct the rows of its parts")
    if tuning_fraction:
        held = splitting.test_rows(len(train), tuning_fraction)
        train, test = train[~held], train[held]
    if not (len(train) and len(test)):
        raise UserError(
            f"{file}: split {split} with --tuning_fraction={tuning_fraction:g} leaves {len(train)} training and "
            f"{len(test)} test rows: give another fraction"
        )
    names, targets = encode_target(y, "y", file, likelihood)
    return Arrays(x[train], targets[train], x[test], targets[test], len(names), names, rows_test=test)


def num_splits(path: str) -> int:
    """Return the number of splits of a table.

    Raises:
      UserError: it can't be read, or has none.
    """
    file = existing(path, "uci")
    if file.is_dir():
        names: Collection[str] = {entry.name for entry in _folder_of(file).iterdir()}
        form = "index_test_{}.txt"
    else:
        with formats.opened_npz(file) as archive:
            names, form = set(archive.files), "test_index_{}"
    count = 0
    while form.format(count) in names:
        count += 1
    if not count:
        raise UserError(f"{file} has no {form.format(0)}, the test rows of its first split: --dataset=uci needs splits")
    return count


def _check_split(split: int, count: int, file: Path) -> None:
    if split >= count:
        raise UserError(f"{file} has no split {split}: it has {count}, --split=0 to {count - 1}")


def _read_npz(file: Path, split: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return x [N, D], y [N] and the rows of the parts of a split that are there, by part."""
    found, others = formats.read_some(file, ("x", "y", f"test_index_{split}", f"train_index_{split}"))
    if missing := [name for name in ("x", "y") if name not in found]:
        raise UserError(
            f"{file} has no {missing[0]}: it must hold x, y and test_index_0, ...; it has {', '.join(others)}"
        )
    rows = {part: found[name] for part in ("test", "train") if (name := f"{part}_index_{split}") in found}
    return found["x"], found["y"].reshape(len(found["y"]), -1).squeeze(1), rows


def _read_folder(file: Path, split: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the same of a folder."""
    folder = _folder_of(file)
    table, features, target = (_numbers(folder / name) for name in (TABLE, FEATURES, TARGET))
    columns = [_checked(index, table.shape[-1], f"{folder}: the columns") for index in (features, target)]
    paths = {part: folder / f"index_{part}_{split}.txt" for part in ("test", "train")}
    rows = {part: _numbers(path) for part, path in paths.items() if path.is_file()}
    return table[:, columns[0]].astype(np.float32), table[:, columns[1][0]], rows


def _folder_of(file: Path) -> Path:
    """Return the folder that has the table: the published ones have it in `data`.

    Raises:
      UserError: there is none.
    """
    found = [folder for folder in (file, file / "data") if (folder / TABLE).is_file()]
    if not found:
        raise UserError(f"{file} has no {TABLE}: --dataset=uci needs an .npz, or a folder of {TABLE}, {FEATURES}, ...")
    return found[0]


def _numbers(path: Path) -> np.ndarray:
    """Return the numbers in a text file, [rows, columns], or [rows] of one column."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: --dataset=uci needs it beside {TABLE}")
    with formats.reading(path):
        table = np.loadtxt(path, ndmin=2)
    return table[:, 0] if table.shape[1] == 1 else table


def _checked(index: np.ndarray, count: int, what: str) -> np.ndarray:
    """Return indices as int64 [K].

    Raises:
      UserError: they are no different whole numbers from 0 to count - 1.
    """
    found = np.asarray(index, np.float64)
    good = found.ndim == 1 and found.size and (found == np.floor(found)).all()
    if not good or found.min() < 0 or found.max() >= count or len(np.unique(found)) < len(found):
        raise UserError(f"{what} must be different whole numbers from 0 to {count - 1}: copy the file again")
    return found.astype(np.int64)
