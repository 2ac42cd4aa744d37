"""Predictions of another run for the same examples, to compare with: `predict --reference`."""

from pathlib import Path

import numpy as np

from bnn_hvd.errors import UserError
from bnn_hvd.run import records


def read_reference(run: Path, fingerprint: str) -> np.ndarray:
    """Return the predictive probabilities [N, C] of another run for the data with this fingerprint.

    run: its directory, or the folder of a prediction.

    Raises:
      UserError: the run has none, or its examples are others.
    """
    folders = (run, *sorted((run / records.PREDICTIONS).glob("*")))
    paths = [path for folder in folders if (path := folder / records.PREDICTIVE).is_file()]
    if not paths:
        raise UserError(
            f"--reference={run} has no {records.PREDICTIVE}: `python -m bnn_hvd predict --run={run}` makes it"
        )
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            if "probs_NC" not in arrays:
                raise UserError(f"--reference={run} is a regression: give a run with classes")
            if "origin_fingerprint" in arrays and arrays["origin_fingerprint"] == fingerprint:
                return arrays["probs_NC"]
    raise UserError(f"--reference={run} predicted other examples: predict both runs on the same --data_dir")
