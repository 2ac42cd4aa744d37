"""Checkpoints: one file each, written atomically and verified when read.

A checkpoint is an .npz of all variables of a state and of the progress of training. Its name has the first 64 bits of
the SHA-256 of its content. A file that was truncated or changed does not match its name, and the checkpoint before it
is used.
"""

import dataclasses
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.errors import UserError
from bnn_hvd.run import records

Arrays = dict[str, np.ndarray]  # by the name of the variable
PROGRESS = "progress/"  # prefix of the names of the fields of `Progress`
# Particles that are added to a finished run begin at step 0 again, but their checkpoints are newer than its own.
NAME = re.compile(r"(?:particle-(?P<first>\d{6})-)?step-(?P<step>\d{10})-(?P<digest>[0-9a-f]{16})\.npz")


@dataclasses.dataclass
class Progress:
    """How far a run has come. It is counted in examples, so that the number of ranks may change.

    offset: examples of the current epoch's permutation that have been used.
    first_member: the first particle in training; particles before it were finished when it was added.
    converged: whether a run --until_converged has converged.
    """

    step: int = 0
    epoch: int = 0
    offset: int = 0
    examples_seen: int = 0
    compile_s: float = 0.0
    train_wall_s: float = 0.0
    timed_steps: int = 0
    timed_examples: int = 0
    first_member: int = 0
    converged: bool = False


def arrays_of(state: Any) -> Arrays:
    """Return the values of the variables of a state, by name."""
    arrays = {variable.name: variable.numpy() for variable in state.variables}
    assert len(arrays) == len(state.variables), "two variables of the state share a name"
    return arrays


def save(folder: Path, arrays: Arrays, progress: Progress, keep: int) -> Path:
    """Write a checkpoint and return its path; then remove all but the newest `keep`."""
    fields = {f"{PROGRESS}{name}": np.asarray(value) for name, value in dataclasses.asdict(progress).items()}
    added = f"particle-{progress.first_member:06d}-" if progress.first_member else ""
    with records.temporary(folder / "checkpoint.npz") as file:
        with file.open("wb") as opened:  # not in memory: a state may be as large as that
            np.savez(opened, **arrays, **fields)
        path = folder / f"{added}step-{progress.step:010d}-{_digest(file)}.npz"
        records.publish(file, path)
    # The new checkpoint stays, even if a damaged one has a later step.
    for old in [other for other in list_newest_first(folder) if other != path][keep - 1 :]:
        old.unlink()
    return path


def list_newest_first(folder: Path) -> list[Path]:
    """Return the checkpoint files, newest first, damaged ones included."""
    named = [(path, match) for path in folder.glob("*.npz") if (match := NAME.fullmatch(path.name))]
    return [path for path, match in sorted(named, key=lambda pair: _age(pair[1]), reverse=True)]


def step_of(path: Path) -> int:
    """Return the step of a checkpoint file that `list_newest_first` has listed."""
    return int(NAME.fullmatch(path.name)["step"])  # type: ignore[index]


def _age(name: re.Match) -> tuple[int, int, str]:
    return int(name["first"] or 0), int(name["step"]), name["digest"]


def read_newest_good(folder: Path) -> Arrays | None:
    """Return the arrays of the newest checkpoint that is not damaged, or None; print a warning for each that is."""
    for path in list_newest_first(folder):
        try:
            if _digest(path) != NAME.fullmatch(path.name)["digest"]:  # type: ignore[index]
                raise ValueError("its content does not match the checksum in its name")
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:  # noqa: BLE001 - a corrupt zip can raise nearly anything
            print(f"bnn_hvd: warning: checkpoint {path} is damaged and not used: {error}", file=sys.stderr)
    return None


def restore(arrays: Arrays, state: Any) -> None:
    """Set the variables of `state` from `arrays`.

    Raises:
      UserError: a variable is missing in `arrays`, or has another shape.
    """
    for variable in state.variables:
        if variable.name not in arrays or arrays[variable.name].shape != variable.shape:
            raise UserError(
                f"the checkpoint does not fit this network: {variable.name} is missing or of another shape; train the "
                "network in another --run"
            )
        variable.assign(arrays[variable.name])


def read_progress(arrays: Arrays) -> Progress:
    """Return the progress that was saved with the variables."""
    return Progress(**{f.name: arrays[f"{PROGRESS}{f.name}"].item() for f in dataclasses.fields(Progress)})


def num_particles(arrays: Arrays) -> int:
    """Return the number of particles M: the leading axis of every array that is no scalar."""
    return next(len(a) for a in arrays.values() if a.ndim)


def is_progress(name: str) -> bool:
    return name.startswith(PROGRESS)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
