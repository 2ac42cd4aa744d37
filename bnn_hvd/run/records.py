"""The run directory: the names of its files, and how they are written.

Every file is written under a temporary name, flushed to disk and renamed, so a reader never sees an incomplete file.
Training and analysis communicate through these files only; nothing here needs TensorFlow.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.errors import UserError

CONFIG = "config.cfg"  # the resolved flags, as a flagfile that repeats the run
PROVENANCE = "provenance.json"  # versions, hosts, ranks, argv, git revision: one entry per session
DATASET_CODE = "dataset.py"  # the copy of the user's own function that reads the data; dataset.json: where it was
DATA = "data.json"  # shapes, counts and standardisation of the training data
METRICS = "metrics.jsonl"  # one line per logged step or evaluation
TIMINGS = "timings.jsonl"  # one line per call of the training loop, evaluation or checkpoint
CHECKSUMS = "checksums.jsonl"  # of the gradient and the weights, one line per step
SUMMARY = "summary.json"  # the result: status, sizes, times, test metrics
NETWORK = "network"  # .py or .keras: the copy of a network of the user's own, and .json: where it was, its checksum
CHECKPOINTS = "checkpoints"
POSTERIOR = "posterior"  # histograms of loc and scale per layer, one file per evaluation
TENSORBOARD = "tensorboard"
DIAGNOSTICS = "diagnostics.json"  # of the chains of hmc: R-hat, effective sample sizes, acceptance, cost
CHAINS = "chains.npz"  # their traces
PREDICTIVE = "predictive.npz"
UNCERTAINTY = "uncertainty.json"
CALIBRATION = "calibration.json"  # what `predict` learnt from labelled examples, and applies from then on
PREDICTED_ROWS = "predictions.csv"  # the prediction of each example and its uncertainty
PREDICTIONS = "predictions"  # a folder for the prediction of each other data set
RECOMMENDATIONS = "recommendations.json"  # for ratings: how many draws rank which item first for which user
PRUNING = "pruning.json"  # scores for each fraction of the weights that `prune` removed
PRUNED_FROM = "pruned_from.json"  # in the run that `prune` wrote
CHURN = "churn.json"  # one row per cell of a study
OPS = "ops.json"  # which operations give the same bits in every run
CURVES = "curves.json"  # accuracy over epochs, of every replica
CHURN_EXAMPLES = "examples.npz"  # the examples on which the predictions of the replicas diverge most
CHURN_PREDICTIONS = "churn_predictions.npz"  # of a replica, in its run directory
COMPARE = "compare.json"  # one row per method, network and data set of a comparison; compare.md: the tables of it
COMPARE_TEXT = "compare.md"
COMPARED = "compared.json"  # of a run of a comparison, in its run directory: the flags and the cost of its prediction
PLOTS = "plots"
TIMELINE = "timeline.json"  # Horovod's, for chrome://tracing
WAITING = ".waiting"  # notes of ranks that wait for a stalled rank
TRAINED = (CONFIG, PROVENANCE, DATA, METRICS, TIMINGS, CHECKSUMS, SUMMARY, DIAGNOSTICS, CHAINS)  # `train` alone writes
LOCK = ".lock"  # held by the job that trains on the run directory


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; a file that is there when the block ends is removed."""
    file = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # on a read-only file system: the error to report is the one above
            file.unlink(missing_ok=True)


def remove_unfinished(run: Path) -> None:
    """Remove the temporary files of a job that was killed while it trained on this run directory."""
    for folder, names in ((run, TRAINED), (run / CHECKPOINTS, ("*",)), (run / POSTERIOR, ("*",))):
        for name in names:
            for file in folder.glob(f".{name}.*.tmp"):
                file.unlink(missing_ok=True)


def publish(file: Path, path: Path) -> None:
    """Flush a temporary file to disk, and rename it to `path`."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    file.replace(path)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` if the block ends without an error."""
    with temporary(path) as file:
        yield file
        publish(file, path)


def write_bytes(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


def to_json(content: Any, indent: int | None = None) -> str:
    """Return the content as JSON, which has no NaN and no infinity: such numbers become null."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: Any) -> None:
    write_text(path, to_json(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
      UserError: it is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None


def damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path.absolute()} is damaged ({why}): copy it again, or write it again")


def read_table(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object: a table of names and values.

    Raises:
      UserError: it is damaged, or holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise damaged(path, "it holds no names")
    return found


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic(path) as file, file.open("wb") as opened:
        np.savez(opened, **arrays)


def append_jsonl(path: Path, *rows: dict[str, Any]) -> None:
    """Append one line per row, in one write."""
    with path.open("a") as file:
        file.write("".join(to_json(row) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows; a line that a killed job left unfinished is skipped."""
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def read_timings(run: Path, phase: str) -> list[dict[str, Any]]:
    """Return the rows of timings.jsonl of a phase: train, eval or checkpoint.

    Raises:
      UserError: a row is not one that `train` writes.
    """
    rows = read_jsonl(run / TIMINGS)
    for row in rows:
        needed = ("seconds", "steps", "communication_s") if row.get("phase") == "train" else ("seconds",)
        if "phase" not in row or not all(isinstance(row.get(name), (int, float)) for name in needed):
            raise damaged(run / TIMINGS, "a line is no timing")
    return [row for row in rows if row["phase"] == phase]


def drop_rows_after(path: Path, step: int, first_member: int = 0) -> None:
    """Remove the rows after `step` (of the particles from `first_member` on): a resumed run writes them again."""
    if path.exists():
        kept = [row for row in read_jsonl(path) if (row.get("first_member", 0), row["step"]) <= (first_member, step)]
        write_text(path, "".join(to_json(row) + "\n" for row in kept))


def make_writable(what: str, folder: Path, *inside: str) -> None:
    """Create a folder and the folders `inside` it.

    what: the name of the folder in the message.

    Raises:
      UserError: the folder can't be written.
    """
    try:
        for path in (folder, *(folder / name for name in inside)):
            path.mkdir(parents=True, exist_ok=True)
        write_text(folder / ".writable", "")
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(
            f"{what} {folder.absolute()} can't be written ({error}): make it writable, or give another --run"
        ) from None


def check_writable(what: str, folder: Path, flag: str) -> None:
    """Check that a folder can be written, or can be made; nothing is written.

    what: the name of the folder in the message. flag: the one that names another folder.

    Raises:
      UserError: it can't.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        why = "can't be written" if there.is_dir() else "is a file"
        raise UserError(
            f"{what} {folder.absolute()} can't be written ({there} {why}): make it writable, or give another {flag}"
        )


def make_run_directory(run: Path) -> None:
    make_writable("the run directory", run, CHECKPOINTS, POSTERIOR)
    remove_unfinished(run)


def make_study_directory(folder: Path) -> None:
    make_writable("--run:", folder)


class Stopwatch:
    """Wall-clock seconds since it was made, or since the last lap."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()

    def elapsed_s(self) -> float:
        return time.perf_counter() - self.start

    def lap_s(self) -> float:
        now = time.perf_counter()
        lap, self.last = now - self.last, now
        return lap
