"""Predictions of another run for the same examples, to compare with: `predict --reference`."""

from pathlib import Path

import numpy as np

from bnn_hvd.errors import UserError
from bnn_hvd.run import records


def read_reference(run: Path, labels_N: np.ndarray) -> np.ndarray:
    """Return the predictive probabilities [N, C] of another run.

    Raises:
      UserError: the run has none, or its examples are others.
    """
    path = run / records.PREDICTIVE
    if not path.is_file():
        raise UserError(
            f"--reference={run} has no {records.PREDICTIVE}: `python -m bnn_hvd predict --run={run}` makes it"
        )
    with np.load(path, allow_pickle=False) as arrays:
        if "probs_NC" not in arrays:
            raise UserError(f"--reference={run} is a regression: give a run with classes")
        probs_NC, its_labels_N = arrays["probs_NC"], arrays["labels_N"]
    if not np.array_equal(its_labels_N, labels_N):
        raise UserError(f"--reference={run} predicted other examples: predict both runs on the same --data_dir")
    return probs_NC
