"""Checkpoints: one file each, whole or not there, and verified when read.

A checkpoint is an .npz of all the variables of a state and of how far training came. Its name carries
the SHA-256 of its content, so that one rename both publishes and seals it; whatever was truncated,
flipped or half-renamed since does not match its name, and the one before is used.
"""

import dataclasses
import hashlib
import io
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.errors import UserError
from bnn_hvd.run import records

Arrays = dict[str, np.ndarray]  # by name of the variable
PROGRESS = "progress/"  # what the names of a progress's fields begin with
# Particles that were added to a finished run begin at step 0 again, and come after all steps of the run.
NAME = re.compile(r"(?:particle-(?P<first>\d{6})-)?step-(?P<step>\d{10})-(?P<digest>[0-9a-f]{16})\.npz")


@dataclasses.dataclass
class Progress:
    """How far a run came. Counted in examples, so that the number of ranks may change.

    `offset` is the number of examples of the current epoch's permutation that are used up. `first_member` is
    the first particle that is being trained: those before it were finished before it was added.
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


def arrays_of(state: Any) -> Arrays:
    """Return the values of the variables of a state, by name."""
    arrays = {variable.name: variable.numpy() for variable in state.variables}
    assert len(arrays) == len(state.variables), "two variables of the state share a name"
    return arrays


def save(folder: Path, arrays: Arrays, progress: Progress, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest `keep`."""
    fields = {f"{PROGRESS}{name}": np.asarray(value) for name, value in dataclasses.asdict(progress).items()}
    content = records.npz_bytes({**arrays, **fields})
    added = f"particle-{progress.first_member:06d}-" if progress.first_member else ""
    path = folder / f"{added}step-{progress.step:010d}-{_digest(content)}.npz"
    records.write_bytes(path, content)
    # The new one stays, though a damaged one may have a later step.
    for old in [other for other in list_newest_first(folder) if other != path][keep - 1 :]:
        old.unlink()
    return path


def list_newest_first(folder: Path) -> list[Path]:
    """Return the checkpoint files, good or bad."""
    named = [(path, match) for path in folder.glob("*.npz") if (match := NAME.fullmatch(path.name))]
    return [path for path, match in sorted(named, key=lambda pair: _age(pair[1]), reverse=True)]


def _age(name: re.Match) -> tuple[int, int, str]:
    return int(name["first"] or 0), int(name["step"]), name["digest"]


def read_newest_good(folder: Path) -> Arrays | None:
    """Return the arrays of the newest checkpoint that is whole, with a warning for each that is not."""
    for path in list_newest_first(folder):
        try:
            content = path.read_bytes()
            if _digest(content) != NAME.fullmatch(path.name)["digest"]:  # type: ignore[index]
                raise ValueError("its content does not match the checksum in its name")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            print(f"bnn_hvd: warning: checkpoint {path} is passed over: {error}", file=sys.stderr)
    return None


def restore(arrays: Arrays, state: Any) -> None:
    """Set the variables of `state` from `arrays`."""
    for variable in state.variables:
        if variable.name not in arrays or arrays[variable.name].shape != variable.shape:
            raise UserError(f"the checkpoint does not fit this network: {variable.name} is missing or of another shape")
        variable.assign(arrays[variable.name])


def read_progress(arrays: Arrays) -> Progress:
    """Return the progress that was saved with the variables."""
    return Progress(**{f.name: arrays[f"{PROGRESS}{f.name}"].item() for f in dataclasses.fields(Progress)})


def num_particles(arrays: Arrays) -> int:
    """Return M of stored variables that have the leading axis M."""
    return next(len(a) for a in arrays.values() if a.ndim)


def is_progress(name: str) -> bool:
    return name.startswith(PROGRESS)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
