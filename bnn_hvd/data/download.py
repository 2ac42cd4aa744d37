"""The verb prepare_data: download a data set once and verify its checksum, or simulate it. No other verb downloads."""

import hashlib
import os
import shlex
import socket
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bnn_hvd import registry
from bnn_hvd.config import PrepareDataConfig
from bnn_hvd.data import gravitational_waves
from bnn_hvd.distributed import launcher
from bnn_hvd.errors import UserError

SIMULATED, SIZES = "gravitational_waves", ("num_train", "num_test", "num_unseen")
TIMEOUT_S = 60.0  # compute nodes often drop outgoing packets, and a connection would hang for minutes


class Remote(NamedTuple):
    """The address of a file, and its checksum as in Keras's own data set modules."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


FILES = {
    "mnist": Remote(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    ),
    "cifar10": Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar100": Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}


def main(config: PrepareDataConfig) -> int:
    """Download --dataset into --data_dir unless it is there, or simulate it; return the exit code."""
    if launcher.world_rank() != 0:
        return 0
    if registry.known({**FILES, SIMULATED: None}, config.dataset, "--dataset") == SIMULATED:
        return gravitational_waves.prepare(config)
    if given := [name for name in SIZES if getattr(config, name) is not None]:
        raise UserError(f"--{given[0]} is of --dataset={SIMULATED}, not of {config.dataset}: leave it out")
    dataset = registry.known(FILES, config.dataset, "--dataset")
    folder = Path(config.data_dir).expanduser().absolute()
    _make_writable(folder)
    file = fetch(FILES[dataset], folder)
    if tarfile.is_tarfile(file):
        _extract(file)
    print(f"{file} is complete (its checksum matches). Next:")
    print(f"  python -m bnn_hvd train --dataset={dataset} --data_dir={shlex.quote(str(folder))}")
    return 0


def fetch(remote: Remote, folder: Path) -> Path:
    """Return the verified file in `folder`, downloaded by Keras unless it is there already.

    Raises:
      UserError: the download failed, or another file has this name.
    """
    file = folder / remote.name
    if file.exists():
        # Keras would overwrite it, or delete it if the download fails, but it may be the user's own file.
        if _sha256(file) != remote.sha256:
            raise UserError(f"{file} has another checksum than {remote.sha256} (sha256): delete it or move it away")
        return file
    get_file = _keras_get_file()
    try:
        get_file(remote.name, remote.url, cache_dir=str(folder), cache_subdir="", file_hash=remote.sha256)
    except Exception as error:  # noqa: BLE001 - Keras raises a bare Exception if the network fails
        file.unlink(missing_ok=True)
        raise UserError(
            f"{remote.name} could not be downloaded ({error}): get {remote.url} on a machine with internet, put it "
            f"at {file} (sha256 {remote.sha256}), and run this again"
        ) from None
    return file


def _keras_get_file() -> Callable[..., str]:
    print("loading Keras, which downloads the file ...", file=sys.stderr)
    from keras.utils import get_file

    socket.setdefaulttimeout(TIMEOUT_S)  # Keras has no timeout of its own
    return get_file


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _make_writable(folder: Path) -> None:
    """Create `folder`, and raise UserError if it can't be written: Keras would silently write to /tmp instead."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--data_dir={folder} can't be made ({error.strerror}): give another folder") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"--data_dir={folder} can't be written: give another folder")


def _extract(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.0 to 3.11.3 have none
        tar.extractall(archive.parent)
