"""Predictions of another run, or from a file, for the same examples, to compare with: `predict --reference`.

Legend: N examples, M rows of a file, C classes.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.data import formats, table_files
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


def read_probs(file: Path, row_N: np.ndarray, class_names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the class probabilities that a file has for some examples, probs_NC.

    file: an .npz of `probs` [M, C] and `index` [M]; or a .csv with a header, of a column `index` (or `row`) and the
      probabilities: in columns p_<class>, as in predictions.csv, else in all others, in the order of the classes.
      The index of a row says which example it is of: one of row_N.

    Raises:
      UserError: there is no index, an example is missing, or these are no probabilities of these classes.
    """
    index_M, probs_MC = (_read_npz if file.suffix.lower() == ".npz" else _read_csv)(file, class_names)
    if probs_MC.ndim != 2 or probs_MC.shape[1] != len(class_names) or index_M.shape != (len(probs_MC),):
        raise UserError(
            f"--reference={file} has probabilities {list(probs_MC.shape)} and an index {list(index_M.shape)}: it must "
            f"have {len(class_names)} probabilities and one index in each row"
        )
    if not ((probs_MC >= 0).all() and np.allclose(probs_MC.sum(axis=1), 1, atol=1e-3)):
        raise UserError(
            f"--reference={file} has rows that are no probabilities: none may be negative, and their sum is 1"
        )
    order_M = np.argsort(index_M, kind="stable")
    sorted_M = index_M[order_M]
    if (sorted_M[1:] == sorted_M[:-1]).any():
        raise UserError(f"--reference={file} has an index twice: it must have one row for each example")
    place_N = np.searchsorted(sorted_M, row_N).clip(max=len(sorted_M) - 1)
    if (missing_N := sorted_M[place_N] != row_N).any():
        raise UserError(
            f"--reference={file} has no row with the index {row_N[missing_N][0]}, as of {missing_N.sum()} of the "
            f"{len(row_N)} predicted examples: its index must be their place in the data, from 0"
        )
    return {"probs_NC": probs_MC[order_M[place_N]]}


def _read_npz(file: Path, class_names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return index [M] and probs [M, C]."""
    found, others = formats.read_some(file, ("probs", "index"))
    if missing := [name for name in ("probs", "index") if name not in found]:
        raise UserError(_no_index(file, missing[0], [*found, *others]))
    return found["index"], found["probs"].astype(np.float64)


def _read_csv(file: Path, class_names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    cells = table_files.read(file)
    key = next((name for name in ("index", "row") if name in cells), "")
    if not key:
        raise UserError(_no_index(file, "column index in a header", list(cells)))
    named = [f"p_{name}" for name in class_names]
    columns = named if set(named) <= set(cells) else [name for name in cells if name != key]
    if wrong := [name for name in [key, *columns] if cells[name].dtype.kind not in "if"]:
        raise UserError(f"--reference={file}: column {wrong[0]!r} holds words: give an index and probabilities")
    return cells[key], np.column_stack([cells[name] for name in columns])


def _no_index(file: Path, what: str, there: list[str]) -> str:
    return (
        f"--reference={file} has no {what}, but {', '.join(there[:5]) or 'nothing'}: it needs the probabilities and "
        "the index of each row's example (docs/hmc.md)"
    )


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
