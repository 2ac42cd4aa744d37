"""How far a run's predictive distribution is from that of a reference posterior; numpy only.

Agreement and total variation are those of Izmailov, Vikram, Hoffman & Wilson (2021), section 3.3.
"""

from pathlib import Path

import numpy as np

from bnn_hvd import records
from bnn_hvd.errors import UserError


def agreement(probs_NC: np.ndarray, reference_NC: np.ndarray) -> float:
    """Return the fraction of examples to which both give the same label."""
    return float(np.mean(probs_NC.argmax(-1) == reference_NC.argmax(-1)))


def total_variation(probs_NC: np.ndarray, reference_NC: np.ndarray) -> float:
    """Return the mean over examples of half the sum of |p - q|: 0 equal, 1 disjoint."""
    return float(np.mean(0.5 * np.abs(probs_NC.astype(np.float64) - reference_NC).sum(-1)))


def compare(probs_NC: np.ndarray, reference_NC: np.ndarray) -> dict[str, float]:
    return {
        "agreement": agreement(probs_NC, reference_NC),
        "total_variation": total_variation(probs_NC, reference_NC),
    }


def read_reference(run: Path, labels_N: np.ndarray) -> np.ndarray:
    """Return the predictive probabilities [N, C] of another run, of the same examples.

    Raises:
      UserError: it has none, or they are of other examples.
    """
    path = run / records.PREDICTIVE
    if not path.is_file():
        raise UserError(
            f"--reference={run} has no {records.PREDICTIVE}: `python -m bnn_hvd predict --run={run}` makes it"
        )
    with np.load(path, allow_pickle=False) as arrays:
        if "probs_NC" not in arrays:
            raise UserError(f"--reference={run} is a regression: only probabilities of classes can be compared")
        probs_NC, its_labels_N = arrays["probs_NC"], arrays["labels_N"]
    if not np.array_equal(its_labels_N, labels_N):
        raise UserError(f"--reference={run} predicted other examples: predict both runs on the same --data_dir")
    return probs_NC
