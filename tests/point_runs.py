"""Writes the run directory of a point network, as if it had been trained, for methods that start from one."""

from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd import config
from bnn_hvd.config import TrainConfig
from bnn_hvd.config.options import Values
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.models.build import build_network
from bnn_hvd.models.network import Network
from bnn_hvd.run import checkpoint, records, rundir
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.targets import Target


def write(
    folder: Path, shape: tuple[int, ...], target: Target, theta: Any = None, flags: Values | None = None
) -> tuple[Path, Any]:
    """Return the run directory and its theta [P]: the given one, or that of a random network."""
    made: TrainConfig = config.resolve(**{"method": "point", "architecture": "fc", "run": str(folder)} | (flags or {}))
    network: Network = build_network(made, shape, target)
    theta = network.initial(np.array([3, 7])).numpy() if theta is None else np.asarray(theta, np.float32)
    records.make_run_directory(folder)
    standardizer = Standardizer(np.zeros([], np.float32), np.ones([], np.float32))
    described = Description(
        num_train=10, num_test=10, example_shape=shape, class_names=(), class_counts=(), columns=(),
        input_dtype="float32", rows_held_out=False, target=target, standardizer=standardizer,
        fingerprint=Fingerprint("", ""),
    )  # fmt: skip
    rundir.describe(made, described.to_dict())
    checkpoint.save(folder / records.CHECKPOINTS, {"params:0": theta}, Progress(), keep=1)
    return folder, theta
