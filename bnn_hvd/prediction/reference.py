"""Predictions of another run for the same examples, to compare with: `predict --reference`."""

from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.data.arrays import Arrays
from bnn_hvd.errors import UserError
from bnn_hvd.run import records


def read_reference(run: Path, fingerprint: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return these arrays of another run's prediction of the data with this fingerprint.

    run: its directory, or the folder of a prediction.

    Raises:
      UserError: the run has none, or its examples or its kind of target are others.
    """
    folders = (run, *sorted((run / records.PREDICTIONS).glob("*")))
    paths = [path for folder in folders if (path := folder / records.PREDICTIVE).is_file()]
    if not paths:
        raise UserError(
            f"--reference={run} has no {records.PREDICTIVE}: `python -m bnn_hvd predict --run={run}` makes it"
        )
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            if missing := [name for name in names if name not in arrays]:
                raise UserError(f"--reference={run} predicted another kind of target (no {missing[0]}): give another")
            if "origin_fingerprint" in arrays and arrays["origin_fingerprint"] == fingerprint:
                return {name: arrays[name] for name in names}
    raise UserError(f"--reference={run} predicted other examples: predict both runs on the same --data_dir")


def read_exact(file: Path, arrays: Arrays) -> dict[str, np.ndarray]:
    """Return the exact posteriors that `exact` wrote for test events of these data.

    Raises:
      UserError: there is no such file, or it is of other events.
    """
    if not file.is_file():
        raise UserError(f"--exact={file} is no file: `python -m bnn_hvd exact gw.npz` makes it")
    with np.load(file, allow_pickle=False) as found:
        exact = {name: found[name] for name in found.files}
    event_E = exact.get("event_E", np.zeros(0, int))
    if not len(event_E) or event_E.max() >= len(arrays.y_test) or (arrays.y_test[event_E] != exact["y_ED"]).any():
        raise UserError(f"--exact={file} has posteriors of other events: make them of the data that are predicted")
    return exact


def reference_lines(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    found = report.get("reference", {})
    return [f"{'reference ' + name:42} {value:.4f}" for name, value in found.items() if name != "run"]
