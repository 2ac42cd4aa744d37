"""Data to predict, with labels or without: arrays in .npz or .npy, tables, folders of images.

Inputs and labels are brought into the form of the data that a run was trained on, which its data.json describes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.config import TrainConfig
from bnn_hvd.data import checks, formats, labels, own, own_arrays, sources, stored, table, table_files
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.data.stored import Inputs, StoredArray
from bnn_hvd.errors import UserError
from bnn_hvd.targets import Classes, ImplicitRatings, RealVectors

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")
HDF5 = (".h5", ".hdf5", ".he5")
FORMS = "x, or x_test, and y or y_test if there are labels"


def read(config: TrainConfig, known: Description, data_dir: str, strict: bool = True) -> Arrays:
    """Return data to predict as the test part. The training part is empty, or that of a file with both parts.

    known: the description of the data that the run was trained on. strict: whether a label that is none of the run's
    classes is an error.

    Raises:
      UserError: they can't be read, or do not fit the run's network.
    """
    path = Path(data_dir).expanduser().absolute()
    if isinstance(known.target, ImplicitRatings):
        return sources.load_configured(config, data_dir)
    if not path.exists():
        raise UserError(f"{path} does not exist: give a file or a folder of data to predict")
    arrays = _same_split(config, known, data_dir) or _with_columns(_read(config, known, path, strict), known)
    for x in arrays.x_test.blocks() if isinstance(arrays.x_test, StoredArray) else [arrays.x_test]:
        checks.check_values("test", x, str(path))
    return arrays


def _with_columns(arrays: Arrays, known: Description) -> Arrays:
    """Return the data with their targets as [N, D] where those of the run are."""
    if not isinstance(known.target, RealVectors):
        return arrays
    y_train, y_test = (y.reshape(len(y), len(known.target.names)) for y in (arrays.y_train, arrays.y_test))
    return dataclasses.replace(arrays, y_train=y_train, y_test=y_test, target_names=known.target.names)


def _read_labels(parts: Mapping[str, StoredArray]) -> dict[str, Any]:
    return {name: part if name.startswith("x") else part[:] for name, part in parts.items()}


def _read(config: TrainConfig, known: Description, path: Path, strict: bool) -> Arrays:
    if known.columns and path.is_file():
        return table.new_rows(path, config.data.options.target, known.columns, known.class_names, strict)
    if path.suffix.lower() in (".csv", ".parquet"):
        return _arrays({"x": _matrix(path)}, known, path, strict)
    if path.suffix.lower() == ".npy":
        with formats.reading(path):
            return _arrays({"x": np.load(path, allow_pickle=False)}, known, path, strict)
    if path.is_dir() and any(path.glob("*.npy")):
        return _arrays(_read_labels(stored.open_folder(path)), known, path, strict)
    if path.suffix.lower() in HDF5:
        return _arrays(_read_labels(stored.open_hdf5(path)), known, path, strict)
    if path.is_dir() and (files := sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES)):
        arrays = _arrays({"x": _images(files, known.example_shape, path)}, known, path, strict)
        return dataclasses.replace(arrays, names_test=tuple(file.name for file in files))
    if path.is_dir() or (own.code_of(config) and path.suffix.lower() != ".npz"):  # files of the data set's own form
        found = sources.load_configured(config, str(path))
        parts = {"x_train": found.x_train, "y_train": found.y_train, "x_test": found.x_test, "y_test": found.y_test}
        return _arrays(parts, known, path, strict)
    return _arrays(formats.read_some(path)[0], known, path, strict)


def _same_split(config: TrainConfig, known: Description, data_dir: str) -> Arrays | None:
    """Return the run's own data with their test part, if it is these that are split into two parts; else None."""
    if not known.rows_held_out:
        return None
    try:
        arrays = sources.load_configured(config, data_dir)
    except UserError:
        return None
    return arrays if Fingerprint.of(arrays) == known.fingerprint else None


def _arrays(parts: Mapping[str, Any], known: Description, path: Path, strict: bool) -> Arrays:
    """Return `Arrays` of those parts that a file has; the test part is x_test, or x, or its only array."""
    key = next((name for name in ("x_test", "x") if name in parts), next(iter(parts), "") if len(parts) == 1 else "")
    if not key:
        raise UserError(f"{path} has {', '.join(parts) or 'nothing'}: data to predict must be called {FORMS}")
    x = _inputs(parts[key], key, known, path)
    y = _labels(parts.get("y_test" if key == "x_test" else "y"), len(x), known, path, strict)
    if "x_train" not in parts or "y_train" not in parts:
        return Arrays(x[:0], y[:0], x, y, len(known.class_names), known.class_names)
    x_train = _inputs(parts["x_train"], "x_train", known, path)
    y_train = _labels(parts["y_train"], len(x_train), known, path, strict=False)
    return Arrays(x_train, y_train, x, y, len(known.class_names), known.class_names)


def _inputs(x: Inputs, key: str, known: Description, path: Path) -> Inputs:
    """Return inputs of the shape and type of the run's.

    Raises:
      UserError: there are none, or they have another shape or type; as a rule, one of uint8 and float32 is 0..255 and
        the other 0..1.
    """
    x = own_arrays.inputs(x, key, path)
    if not len(x):
        raise UserError(f"{path}: {key} has no examples: give at least one")
    if x.shape[1:] != known.example_shape:
        raise UserError(
            f"{path} has examples of shape {list(x.shape[1:])}, the run was trained on {list(known.example_shape)}: "
            "give data of that shape"
        )
    whole = isinstance(x, np.ndarray) and known.input_dtype == "uint8" and _are_bytes(x)
    if x.dtype.name != known.input_dtype and not whole:
        raise UserError(f"{path}: {key} is {x.dtype}, the run was trained on {known.input_dtype}: save it as that")
    return x.astype(known.input_dtype) if isinstance(x, np.ndarray) else x


def _are_bytes(x: np.ndarray) -> bool:
    return bool(np.all((x >= 0) & (x <= 255) & (x == np.floor(x))))


def _labels(y: np.ndarray | None, count: int, known: Description, path: Path, strict: bool) -> np.ndarray:
    """Return the targets of `count` examples; without `y` they are all unknown."""
    shape = (count, *known.target.label_shape)
    if isinstance(known.target, RealVectors):
        shape = (count, len(known.target.names))
    if isinstance(known.target, Classes):
        found = np.full(shape, labels.UNKNOWN) if y is None else labels.encode(y, known.class_names, f"{path}", strict)
        found = found.astype(np.int32)
    else:
        found = np.full(shape, np.nan) if y is None else np.asarray(y)
        one_more = found.ndim == len(shape) + 1 and found.shape[-1] == 1
        found = (found[..., 0] if one_more else found).astype(np.float32)
    if found.shape[1:] != shape[1:]:
        raise UserError(f"{path} has labels of shape {list(found.shape[1:])}, the run {known.target}: give those")
    if len(found) != count:
        raise UserError(f"{path} has {count} examples but {len(found)} labels: make them equal, or leave them out")
    return found


def _matrix(path: Path) -> np.ndarray:
    """Return all columns of a table of numbers [N, D]."""
    cells = table_files.read(path)
    wrong = [name for name, values in cells.items() if table_files.is_words(values) or np.isnan(values).any()]
    if wrong:
        raise UserError(f"{path}: column {wrong[0]!r} has words or empty cells: give the run's inputs, all as numbers")
    return np.column_stack([*cells.values()])


def _images(files: Sequence[Path], shape: tuple[int, ...], folder: Path) -> np.ndarray:
    """Return image files as uint8 [N, H, W, C], with the channels of `shape`.

    Raises:
      UserError: the run was not trained on images, or an image is broken, or of another size.
    """
    from PIL import Image  # it comes with matplotlib, which draws with it

    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if len(shape) != 3 or shape[2] not in modes:
        raise UserError(f"{folder} has images, but the run was trained on examples of shape {list(shape)}: give those")
    images = []
    for file in files:
        with formats.reading(file), Image.open(file) as image:
            images.append(np.asarray(image.convert(modes[shape[2]]), np.uint8).reshape(image.height, image.width, -1))
        if images[-1].shape != shape:
            raise UserError(
                f"{file} has {images[-1].shape[1]} x {images[-1].shape[0]} pixels, the run was trained on {shape[1]} x "
                f"{shape[0]}: resize the images"
            )
    return np.stack(images)
