"""Data sets: the files that are read, and the checks of their content. A reader is `name(path) -> Arrays`.

Adding a data set is one function here and one row in registry.DATASETS.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig, default_options
from bnn_hvd.config.options import FILES, DataOptions
from bnn_hvd.data import checks, formats, own
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.own_arrays import inputs
from bnn_hvd.data.places import absolute, existing, way_out
from bnn_hvd.errors import UserError
from bnn_hvd.targets import RealValues

NUM_TEST_DIGITS = 360
IDX_STEMS = {"x_train": "train-images", "y_train": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}

FINE_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""


class CifarFiles(NamedTuple):
    """The names of CIFAR's files, and the place of the label in them."""

    folders: tuple[str, ...]
    train: tuple[str, ...]
    test: str
    label_key: str
    label_bytes: int
    class_names: tuple[str, ...]


CIFAR10 = CifarFiles(
    folders=("cifar-10-batches-py", "cifar-10-batches-bin"),
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    label_key="labels",
    label_bytes=1,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)


CIFAR100 = CifarFiles(
    folders=("cifar-100-python", "cifar-100-binary"),
    train=("train",),
    test="test",
    label_key="fine_labels",
    label_bytes=2,
    class_names=tuple(FINE_CLASSES.split()),
)


@dataclasses.dataclass(frozen=True)
class DigitsOptions(DataOptions):
    """Facts of digits; it has no flags of its own."""

    takes = DataOptions.takes - FILES


def load(dataset: str, data_dir: str, likelihood: str = "", **flags: Any) -> Arrays:
    """Read the data set that the flags --dataset and --data_dir name, and check it.

    likelihood: --likelihood, for data sets whose targets it decides about.
    flags: options of the data set that differ from their defaults; the reader gets options as keyword arguments.

    Raises:
      UserError: a file is missing or broken, or the data can't be trained on.
    """
    reader = registry.load(registry.DATASETS, dataset)
    options = dataclasses.replace(default_options("data", dataset), **flags)
    more = {"likelihood": likelihood} if options.by_likelihood else {}
    arrays = reader(data_dir, **dataclasses.asdict(options), **more)
    return checked(arrays, str(absolute(data_dir)) if data_dir else dataset)


def load_configured(config: TrainConfig, data_dir: str = "") -> Arrays:
    """Read the data set of a configuration, or other data in its format.

    Raises:
      UserError: as `load`, or images are to be augmented and these are none.
    """
    data = config.data
    path, options = data_dir or data.data_dir, data.options
    if code := own.code_of(config):
        arrays = checked(own.read(code, path, options, data.likelihood), data.dataset)
    else:
        arrays = load(data.dataset, path, likelihood=data.likelihood, **dataclasses.asdict(options))
    if data.likelihood == "gaussian_mixture" and isinstance(arrays.target(), RealValues) and arrays.y_train.ndim == 1:
        arrays = as_column(arrays, getattr(options, "target", ""))
    if data.augment and arrays.x_train.ndim != 4:
        width = arrays.x_train.shape[-1]
        raise UserError(f"--augment crops and flips images, but these are vectors of {width}: leave it out")
    if data.augment and arrays.target().label_shape:
        raise UserError("--augment crops and flips images, and not the labels of their pixels: leave it out")
    return arrays


def as_column(arrays: Arrays, name: str) -> Arrays:
    """Return the data with their only target as a column [N, 1], as mixtures take it."""
    y_train, y_test = arrays.y_train[:, None], arrays.y_test[:, None]
    return dataclasses.replace(arrays, y_train=y_train, y_test=y_test, target_names=(name or "y",))


def checked(arrays: Arrays, source: str) -> Arrays:
    """Return a data set that was checked, with notes on what a user may not expect of it."""
    checks.check(arrays, source)
    return dataclasses.replace(arrays, notes=(*arrays.notes, *checks.notes(arrays, source)))


def digits(path: str) -> Arrays:
    """Return scikit-learn's 1,797 digits of 8x8, values 0 to 16.

    The test part is the last 360. The digits are in the order of their writers, so most of the test part is
    handwriting that the training part lacks: a fairer test than a random split, and the same for every --seed.
    """
    if path:
        raise UserError(
            f"--dataset=digits is built in and reads no --data_dir={path}: leave it out, or name its --dataset"
        )
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y, split = bunch.images.astype(np.uint8), bunch.target, len(bunch.target) - NUM_TEST_DIGITS
    parts = {"x_train": x[:split], "y_train": y[:split], "x_test": x[split:], "y_test": y[split:]}
    return _arrays("digits", parts, _numbered(10))


def mnist(path: str) -> Arrays:
    """Read a keras mnist.npz, a folder with one, or a folder with the four idx files; Fashion-MNIST too."""
    source = _npz_or_folder(path, "mnist")
    if source.is_file():
        parts = formats.read_npz(source)
    else:
        parts = {key: formats.read_idx(file, _idx_ndim(key)) for key, file in _idx_files(source).items()}
    return _arrays(source, parts, _numbered(10))


def cifar10(path: str) -> Arrays:
    """Read CIFAR-10's folder of python batches or of binary batches, or an .npz."""
    return _cifar(_npz_or_folder(path, "cifar10"), CIFAR10, "cifar10")


def cifar100(path: str) -> Arrays:
    """Read CIFAR-100's folder of python or of binary files, or an .npz; the labels are the 100 fine ones."""
    return _cifar(_npz_or_folder(path, "cifar100"), CIFAR100, "cifar100")


def _cifar(source: Path, files: CifarFiles, dataset: str) -> Arrays:
    if source.is_file():
        return _arrays(source, formats.read_npz(source), files.class_names)
    batches = _cifar_batches(source, files, dataset)
    read = [
        formats.read_cifar_binary(batch, files.label_bytes)
        if batch.suffix == ".bin"
        else formats.read_cifar_pickle(batch, files.label_key)
        for batch in batches
    ]
    images, labels = zip(*read, strict=True)
    parts = {
        "x_train": np.concatenate(images[:-1]), "y_train": np.concatenate(labels[:-1]),
        "x_test": images[-1], "y_test": labels[-1],
    }  # fmt: skip
    return _arrays(batches[-1].parent, parts, files.class_names)


def _cifar_batches(folder: Path, files: CifarFiles, dataset: str) -> list[Path]:
    """Return the training batches and the test batch, in the first format of which a file exists."""
    for base in (folder, *(folder / name for name in files.folders)):
        for suffix in ("", ".bin"):
            names = [f"{name}{suffix}" for name in (*files.train, files.test)]
            if any((base / name).is_file() for name in names):
                return [_file(base, [name], dataset) for name in names]
    batches = ", ".join([*files.train, files.test])
    raise _missing(folder, f"{dataset}.npz, and no {batches} (python ones, or binary ones with .bin)", dataset)


def _idx_files(folder: Path) -> dict[str, Path]:
    spellings = {key: _idx_spellings(stem, _idx_ndim(key)) for key, stem in IDX_STEMS.items()}
    if not any((folder / name).is_file() for names in spellings.values() for name in names):
        idx = ", ".join(names[0] for names in spellings.values())
        raise _missing(folder, f"mnist.npz, and no {idx} (plain or .gz)", "mnist")
    return {key: _file(folder, names, "mnist") for key, names in spellings.items()}


def _idx_spellings(stem: str, ndim: int) -> list[str]:
    return [f"{stem}{mark}idx{ndim}-ubyte{suffix}" for mark in "-." for suffix in ("", ".gz")]


def _idx_ndim(key: str) -> int:
    return 3 if key.startswith("x") else 1


def _file(folder: Path, names: Sequence[str], dataset: str) -> Path:
    """Return the first of `names` that is in `folder`."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise _missing(folder, " or ".join(names), dataset)


def _npz_or_folder(path: str, dataset: str) -> Path:
    """Return the file or folder at `path`, or the <dataset>.npz in that folder."""
    source = existing(path, dataset)
    inside = source / f"{dataset}.npz"
    return inside if inside.is_file() else source


def _missing(folder: Path, what: str, dataset: str) -> UserError:
    return UserError(f"{folder} has no {what}: --dataset={dataset} needs --data_dir={way_out(dataset)}")


def _numbered(num_classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(num_classes)))


def _arrays(source: Path | str, parts: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> Arrays:
    """Return `Arrays` of checked inputs and labels, in the shapes and types that it documents."""
    return Arrays(
        x_train=inputs(parts["x_train"], "x_train", source),
        y_train=_labels(parts["y_train"], "y_train", source),
        x_test=inputs(parts["x_test"], "x_test", source),
        y_test=_labels(parts["y_test"], "y_test", source),
        num_classes=len(class_names),
        class_names=class_names,
    )


def _labels(y: np.ndarray, key: str, source: Path | str) -> np.ndarray:
    """Return int32 [N], from whole numbers [N] or [N, 1] of any type."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise UserError(f"{source}: {key} has the shape {list(y.shape)}: it must be [N], one class number per example")
    if y.dtype.kind not in "buif" or not np.all(y == np.floor(y)):
        raise UserError(f"{source}: {key} has labels that are no whole numbers: number the classes 0, 1, 2, ...")
    if y.size and (y.min() < 0 or y.max() > np.iinfo(np.int32).max):
        wrong = y.min() if y.min() < 0 else y.max()
        raise UserError(f"{source}: {key} has the label {wrong}, out of range: number the classes 0, 1, 2, ...")
    return y.astype(np.int32)
