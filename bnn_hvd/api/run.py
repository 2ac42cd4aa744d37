"""A trained run from Python: predictions, draws of the weights, its numbers and its figures.

Legend: S draws, N examples.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnn_hvd import config
from bnn_hvd.api.predictions import ClassPrediction, Prediction, RatingPrediction, RealPrediction, VectorPrediction
from bnn_hvd.config import PredictConfig
from bnn_hvd.data import inputs
from bnn_hvd.data.description import Description
from bnn_hvd.distributed import environment
from bnn_hvd.errors import UserError
from bnn_hvd.run import checkpoint, records, rundir
from bnn_hvd.targets import Classes, ImplicitRatings, RealVectors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnn_hvd.prediction.calibration import Calibration
    from bnn_hvd.prediction.predictor import Predictor

NUM_DRAWS = PredictConfig.num_draws  # of the command line, by default


def load(run: str | Path, threads: int = 0) -> "Run":
    """Return the run in a directory that `train` wrote. It imports neither Horovod nor, before it predicts, TensorFlow.

    run: the directory.
    threads: of TensorFlow; 0: the cores that this process may use. Where TensorFlow is running already, its threads
      stay as they are.

    Raises:
      UserError: `run` is no run directory.
    """
    return Run(Path(run), threads)


class Run:
    """A run directory. Its weights are read once, when they are first needed.

    Attributes:
      path: of the directory.
      config: the value of each flag, by name, as {"learning_rate": 0.001, ...}.
    """

    def __init__(self, path: Path, threads: int = 0):
        self._trained = rundir.read_config(path)
        self.path, self._threads = path, threads
        self.config: dict[str, Any] = config.to_flags(self._trained)

    def __repr__(self) -> str:
        return f"bnn_hvd.load({str(self.path)!r})"

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json: status, sizes, times, scores on the test part; {} before training has ended."""
        return rundir.read_summary(self.path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one per logged step or evaluation; `pandas.DataFrame(run.metrics)` takes them."""
        return records.read_jsonl(self.path / records.METRICS)

    def predict(self, x: np.ndarray, num_draws: int = NUM_DRAWS, seed: int | None = None) -> Prediction:
        """Return the predictive distribution of examples.

        x: [N, ...], raw, as in the data of the run: the run standardises them. Of a run on grey images
          [N, H, W, 1], also [N, H, W]. Of a run on ratings, the numbers of users [N], in the order of the data.
        num_draws: posterior draws; a method with fewer different ones, as `point` or `svgd`, makes as many as it has.
        seed: of the draws; None: that of the run, with which `predict` of the command line makes the same draws.

        Raises:
          UserError: examples of another shape, or not finite; or users that the run does not have.
        """
        if num_draws < 1:
            raise UserError(f"num_draws={num_draws} must be at least 1")
        x = inputs.like(x, self._known.example_shape, "x")
        predictor, target = self._predictor_with(seed), self._known.target
        if isinstance(target, RealVectors):
            return VectorPrediction(predictor, x, num_draws, self._known)
        if isinstance(target, ImplicitRatings):
            return RatingPrediction(predictor, x, num_draws, self._known)
        kind = ClassPrediction if isinstance(target, Classes) else RealPrediction
        kept = self._calibration(predictor.method.num_draws(num_draws), seed)
        return kind(predictor, x, num_draws, self._known, kept)

    def weights(self, num_draws: int = NUM_DRAWS, seed: int | None = None) -> dict[str, np.ndarray]:
        """Return posterior draws of the weights by name, as {"conv1/kernel": [S, 5, 5, 1, 64], ...}.

        They are the draws with which `predict` predicts, for the same seed. S is `num_draws`, or the number of
        different draws that the method has. Of `mc_dropout`, whose draws are masks, S = 1: the weights without them.
        """
        return self._predictor_with(seed).weights(num_draws)

    def evaluate(self, **flags: Any) -> dict[str, Any]:
        """Predict the test part of the run, as `python -m bnn_hvd predict` does, and return its uncertainty.json.

        It writes predictive.npz and uncertainty.json, from which `plot` draws.

        flags: those of `predict`, as num_draws=100, data_dir="other.npz".

        Raises:
          UserError: as `predict` of the command line.
        """
        from bnn_hvd.prediction import predict

        chosen: PredictConfig = config.make(PredictConfig, run=str(self.path), threads=self._threads, **flags)
        environment.prepare()
        return predict.predict(chosen).report

    def plot(self, name: str, prediction: str = "") -> "Figure":
        """Return a figure of `python -m bnn_hvd plot`.

        name: of its file, as "learning_curves" or "reliability".
        prediction: the folder of a prediction of other data, or its name in predictions/ of the run.

        Raises:
          UserError: no figure has this name, or the file that it draws is not there.
        """
        from bnn_hvd import plots

        return plots.draw(plots.find_prediction(self.path, prediction) if prediction else self.path, name)

    def export(self, folder: str | Path, num_draws: int = 32, seed: int | None = None) -> None:
        """Write a TensorFlow SavedModel of fixed posterior draws, which needs TensorFlow and not this package.

        `tf.saved_model.load(folder)(x)` takes raw x [N, ...], float32, for any N, and returns tensors by name, float32:
        `mean`, `total`, `aleatoric`, `epistemic` and `draws`, as those of `predict` with the same num_draws and seed.

        folder: is made.
        num_draws: S; the file has S copies of the weights that differ between draws.
        seed: of the draws, as in `predict`.

        Raises:
          UserError: the folder has files, the run is on ratings or on several real targets, or its draws are masks of
            dropout.
        """
        from bnn_hvd.api import export

        export.write(Path(folder), self._predictor_with(seed), self._known, num_draws)

    def to_arviz(self) -> Any:
        """Return the chains of a run of `hmc` as arviz.InferenceData, each parameter [chain, draw, ...].

        Raises:
          UserError: the run has another method, or arviz is not installed.
        """
        from bnn_hvd.api import arviz_data

        return arviz_data.of_chains(self._predictor)

    @functools.cached_property
    def _known(self) -> Description:
        return Description.from_dict(rundir.read_data(self.path))

    @functools.cached_property
    def _predictor(self) -> "Predictor":
        environment.prepare()
        from bnn_hvd.distributed import machine
        from bnn_hvd.distributed.cluster import Solo
        from bnn_hvd.prediction import predict

        machine.set_up(self._threads, Solo())
        return predict.restore(self._trained, self._known, Solo())

    def _calibration(self, num_draws: int, seed: int | None) -> "Calibration | None":
        """Return the calibration that the run keeps, if it is of these draws and of the newest checkpoint."""
        from bnn_hvd.prediction import calibration

        kept = calibration.read(self.path)
        newest = checkpoint.list_newest_first(self.path / records.CHECKPOINTS)[0]
        seed = self._trained.run.seed if seed is None else seed
        here = (checkpoint.step_of(newest), num_draws, seed)
        return kept if kept and kept.predictions == here else None

    def _predictor_with(self, seed: int | None) -> "Predictor":
        return self._predictor.with_seed(self._trained.run.seed if seed is None else seed)
