"""The user's own arrays of inputs and labels: in one .npz, or larger than memory in a folder of .npy or in HDF5."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.data import formats, labels, split, stored
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.places import existing
from bnn_hvd.data.stored import Inputs, StoredArray, chosen
from bnn_hvd.errors import UserError

LARGE_BYTES = 1 << 30  # of inputs: a note says how not to hold them in memory
WANTED = (*formats.KEYS, "x", "y", "class_names")


def npz(path: str, *, validation_fraction: float = 0.2, likelihood: str = "") -> Arrays:
    """Read x_train, y_train and, if they are there, x_test, y_test; without a test part, they may be called x, y.

    Labels are words or whole numbers, whichever; with a likelihood of real targets, real values. class_names: in their
    place, the names of the classes 0, 1, 2, ...
    """
    source = existing(path, "npz")
    parts, others = formats.read_some(source, WANTED)
    check_named(parts, others, source)
    arrays = arrays_of(parts, str(source), validation_fraction, likelihood)
    notes = [f"{source}: {', '.join(others)} is not read"] * bool(others)
    if (size := arrays.x_train.size * arrays.x_train.dtype.itemsize) > LARGE_BYTES:
        notes.append(
            f"{source}: each rank holds the {size / 2**30:.1f} GB of its inputs in memory: of a folder of .npy files "
            "(--dataset=npy) it reads what it needs"
        )
    return dataclasses.replace(arrays, notes=(*arrays.notes, *notes))


def npy(path: str, *, validation_fraction: float = 0.2, likelihood: str = "") -> Arrays:
    """Read a folder of x_train.npy, y_train.npy, ..., named as in `npz`; inputs are read when they are needed."""
    folder = existing(path, "npy")
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: --dataset=npy needs one of x_train.npy, y_train.npy, ...")
    return _stored_arrays(stored.open_folder(folder), folder, validation_fraction, likelihood)


def hdf5(path: str, *, validation_fraction: float = 0.2, likelihood: str = "") -> Arrays:
    """Read an HDF5 file of x_train, y_train, ..., named as in `npz`; inputs are read when they are needed."""
    file = existing(path, "hdf5")
    return _stored_arrays(stored.open_hdf5(file), file, validation_fraction, likelihood)


def _stored_arrays(
    parts: Mapping[str, StoredArray], source: Path, validation_fraction: float, likelihood: str
) -> Arrays:
    known = {name: part if name.startswith("x") else part[:] for name, part in parts.items() if name in WANTED}
    check_named(known, [name for name in parts if name not in WANTED], source)
    return arrays_of(known, str(source), validation_fraction, likelihood)


def arrays_of(parts: Mapping[str, Any], source: str, validation_fraction: float, likelihood: str) -> Arrays:
    """Return `Arrays` of the parts that a user has given, by name (WANTED).

    Raises:
      UserError: a part is of a shape or type that can't be learnt.
    """
    parts = _renamed(parts)
    there = [part for part in ("train", "test") if f"x_{part}" in parts]
    x = {part: inputs(parts[f"x_{part}"], f"x_{part}", source) for part in there}
    names, y = _targets({part: parts[f"y_{part}"] for part in there}, parts.get("class_names"), source, likelihood)
    if "test" in there:
        return Arrays(x["train"], y["train"], x["test"], y["test"], num_classes=len(names), class_names=names)
    for name, value in (("x", x["train"]), ("y", y["train"])):
        if len(value) != len(x["train"]) or not value.size:
            raise UserError(f"{source}: {name} has {len(value)} examples and x {len(x['train'])}: make them equal")
    held = split.test_rows(len(x["train"]), validation_fraction)
    if held.all() or not held.any():
        raise UserError(
            f"{source} has no test part, and --validation_fraction={validation_fraction} of its {len(held)} examples "
            "leaves none in one of two parts: give another fraction, or x_test and y_test"
        )
    note = f"{source} has no x_test: {held.sum():,} of {len(held):,} examples are held out (--validation_fraction)"
    return Arrays(
        chosen(x["train"], ~held), y["train"][~held], chosen(x["train"], held), y["train"][held], len(names), names,
        rows_test=np.flatnonzero(held), notes=(note,),
    )  # fmt: skip


def check_named(parts: Collection[str], others: Collection[str], source: Path | str) -> None:
    """Raise UserError unless the names of the parts have all that is needed; `others` are not read."""
    there = _renamed(dict.fromkeys(parts))
    needed = ["x_train", "y_train", *(["x_test", "y_test"] if "x_test" in there or "y_test" in there else [])]
    if missing := [key for key in needed if key not in there]:
        raise UserError(
            f"{source} has no {', '.join(missing)}: it must hold x_train, y_train, and x_test, y_test if there is a "
            f"test part, but has {', '.join([*parts, *others]) or 'nothing'}"
        )


def _renamed(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts with x and y as the training part, if it has no other."""
    return {
        f"{name}_train" if name in ("x", "y") and f"{name}_train" not in parts else name: parts[name] for name in parts
    }


def _targets(
    y: Mapping[str, np.ndarray], class_names: np.ndarray | None, source: str, likelihood: str
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the names of the classes, () for real values, and the target of each part."""
    if likelihood not in ("", "categorical"):
        return (), {part: _real(values, f"{source}: y_{part}") for part, values in y.items()}
    names = labels.class_names({f"{source}: y_{part}": values for part, values in y.items()})
    if class_names is not None and set(names) <= {str(number) for number in range(len(class_names))}:
        names = tuple(map(str, class_names))
    return names, {part: labels.encode(values, names, f"{source}: y_{part}") for part, values in y.items()}


def _real(y: np.ndarray, source: str) -> np.ndarray:
    """Return real values float32, from numbers [N], or with further axes; a last axis of 1 is dropped."""
    y = y[..., 0] if y.ndim > 1 and y.shape[-1] == 1 else y
    if y.ndim < 1 or y.dtype.kind not in "buif":
        raise UserError(f"{source} is {y.dtype} {list(y.shape)}: a real target must be numbers [N], or [N, ...]")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which `checks.check` reports
        return y.astype(np.float32)


def inputs(x: Inputs, key: str, source: Path | str) -> Inputs:
    """Return inputs [N, D], [N, H, W, C] or with more axes, from these or [N, H, W].

    uint8 stays, other numbers become float32.
    """
    if x.dtype.kind not in "buif":
        raise UserError(f"{source}: {key} holds {x.dtype}, which are no numbers: save it as uint8 or float32")
    if x.ndim < 2:
        raise UserError(
            f"{source}: {key} has the shape {list(x.shape)}: it must be [N, D] (vectors), [N, H, W] or "
            "[N, H, W, C] (images), or have further axes"
        )
    shape = (*x.shape[1:], 1) if x.ndim == 3 else x.shape[1:]
    dtype = np.dtype(np.uint8 if x.dtype in (np.uint8, np.bool_) else np.float32)
    if isinstance(x, StoredArray):
        return x.seen_as(shape, dtype)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which `checks.check` reports
        return np.ascontiguousarray(x, dtype).reshape(len(x), *shape)
