"""The place of a prediction, and what it says of its origin: which run, at which step, on which data."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnn_hvd.config import PredictConfig, TrainConfig
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.errors import UserError
from bnn_hvd.run import records, rundir
from bnn_hvd.run.checkpoint import Progress

PORTABLE = ("fingerprint", "own_data", "step", "run_finished")


class Origin(NamedTuple):
    """The origin of a prediction.

    run, data_dir: full paths; data_dir is "" for built-in data. fingerprint: of the predicted (test) part.
    own_data: whether these are the data of the run. step: of the checkpoint. run_finished: whether it was the last one.
    """

    run: str
    data_dir: str
    fingerprint: str
    own_data: bool
    step: int
    run_finished: bool

    @classmethod
    def of(cls, trained: TrainConfig, progress: Progress, data_dir: str, fingerprint: str, own_data: bool) -> "Origin":
        source = str(Path(data_dir).absolute()) if data_dir else ""
        finished = rundir.finished(trained, progress)
        return cls(str(trained.folder.absolute()), source, fingerprint, own_data, progress.step, finished)

    def report(self) -> dict[str, Any]:
        """Return the entry of uncertainty.json."""
        return {"origin": self._asdict()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the entries of predictive.npz: those that do not depend on where a run and its data are."""
        return {f"origin_{name}": np.array(getattr(self, name)) for name in PORTABLE}


def choose_folder(config: PredictConfig, known: Description, fingerprint: Fingerprint) -> Path:
    """Return the folder of a prediction: --out, the run directory, or one for these data in its `predictions`.

    Raises:
      UserError: the folder can't be written, or has a prediction of other data or of another run.
    """
    run, own = Path(config.run), fingerprint == known.fingerprint
    name = f"{Path(config.data_dir).stem}-{fingerprint.test[:8]}"
    folder = Path(config.out) if config.out else run if own else run / records.PREDICTIONS / name
    if (folder / records.CONFIG).exists() and not (own and folder.resolve() == run.resolve()):
        raise UserError(f"--out={folder} is a run directory, and keeps the prediction of its own data: give another")
    written = folder / records.UNCERTAINTY
    if config.out and written.exists():
        there = records.read_json(written).get("origin", {})
        if (there.get("fingerprint"), there.get("run")) != (fingerprint.test, str(run.absolute())):
            raise UserError(f"--out={folder} has a prediction of other data or of another run: give another")
    records.check_writable("the folder of the prediction", folder, "--out")
    return folder
