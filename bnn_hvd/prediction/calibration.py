"""The calibration of a run: what is learnt about its predictions from labelled examples that training has not seen.

`predict` makes it, when a flag asks for it, from a half of the labelled examples that it predicts (a shuffle that is
the same for every --seed chooses them), scores it on the others, and keeps it with the run, in calibration.json. Every
later `predict` applies it. Legend: N predicted examples.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd import seeds
from bnn_hvd.config import PredictConfig, TrainConfig
from bnn_hvd.data import sources, split
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.data.stored import Inputs, StoredArray
from bnn_hvd.errors import UserError
from bnn_hvd.metrics.conformal import fewest
from bnn_hvd.prediction import conformal, recalibration, statistics
from bnn_hvd.prediction.predictor import Found, Result
from bnn_hvd.prediction.recalibration import Quantiles
from bnn_hvd.run import records
from bnn_hvd.targets import has_label

PART = 0.5  # of the labelled examples
FEWEST = 5  # calibration examples
MOST_SEEN = 0.5  # of the calibration examples in the training part; equal examples of a small table are no mistake


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The content of calibration.json.

    step, num_draws, seed: of the predictions that it is of; only these are corrected by it. fingerprint: of the data
    that it was made on. num_calibration: how many of their examples. coverage, thresholds: those of conformal
    prediction, by the name of the score (metrics/conformal.py). temperature, quantile_map: of metrics/calibration.py.
    What was not made is 0 or empty.
    """

    step: int
    num_draws: int
    seed: int
    fingerprint: str
    num_calibration: int
    coverage: float = 0.0
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)
    temperature: float = 0.0
    quantile_map: list[float] = dataclasses.field(default_factory=list)

    @property
    def predictions(self) -> tuple[int, int, int]:
        """What must be equal in the predictions that it corrects: the weights and the draws."""
        return self.step, self.num_draws, self.seed

    def uniform(self, count: int) -> np.ndarray:
        """Return the numbers in [0, 1) of so many examples, by which sets of classes are random at their edge."""
        return seeds.generator(self.seed, "sets").uniform(size=count)


@dataclasses.dataclass(frozen=True)
class Calibrating:
    """How a prediction is calibrated: the calibration that it has or gets, and which of its examples that is made from.

    calibration: the one that the run keeps, or an empty one to be filled; None: there is none. part_N: which examples
    it is made from, bool. asked: whether the flags ask for a new one. note: what the user should know.
    """

    calibration: Calibration | None
    part_N: np.ndarray
    asked: bool
    note: str = ""

    def config(self, config: PredictConfig) -> PredictConfig:
        """Return the flags with what is kept with the run."""
        if config.coverage or not self.calibration:
            return config
        return dataclasses.replace(config, coverage=self.calibration.coverage)

    def apply(
        self, found: Found, y: np.ndarray, config: PredictConfig, quantiles: Quantiles
    ) -> tuple[Calibration | None, Result]:
        """Return the calibration, and what it adds to predictive.npz and to uncertainty.json.

        config: that of `self.config`. quantiles: returns those of a real target at some levels.
        """
        if not self.calibration:
            return None, ({}, {})
        made = self._made(found, y, config)
        scored_N = labelled(y) & ~self.part_N
        arrays: Found = {"calibration_part_N": self.part_N} if self.part_N.any() else {}
        report: dict[str, Any] = {}
        if made.coverage:
            regions = conformal.regions(found, made.thresholds, made.uniform(len(y)))
            measured = conformal.measures(regions, found, y, scored_N, made.coverage, made.num_calibration)
            arrays |= regions | ({"conformal_scored_N": scored_N} if scored_N.any() else {})
            report["conformal"] = {"coverage": made.coverage, "num_calibration": made.num_calibration} | measured
        for its, measured in self._recalibrated(made, found, y, scored_N, config, quantiles):
            arrays |= its
            report["calibrated"] = {"num_calibration": made.num_calibration} | measured
        return made, (arrays, report)

    def _made(self, found: Found, y: np.ndarray, config: PredictConfig) -> Calibration:
        """Return the calibration with what the flags ask for."""
        assert self.calibration is not None
        new: dict[str, Any] = {}
        if self.asked and config.coverage:
            u_N = self.calibration.uniform(len(y))
            thresholds = conformal.thresholds(found, y, self.part_N, u_N, config.coverage)
            new |= {"coverage": config.coverage, "thresholds": thresholds}
        if config.calibrate and "probs_NC" in found:
            new["temperature"] = recalibration.temperature(found, y, self.part_N)
        elif config.calibrate:
            new["quantile_map"] = recalibration.quantile_map(found, self.part_N)
        return dataclasses.replace(self.calibration, **new)

    def _recalibrated(
        self, made: Calibration, found: Found, y: np.ndarray, scored_N: np.ndarray, config: PredictConfig,
        quantiles: Quantiles,
    ) -> list[Result]:  # fmt: skip
        if made.temperature:
            return [recalibration.at_temperature(found, y, scored_N, made.temperature)]
        if made.quantile_map:
            levels = statistics.Wanted.of(config).quantiles
            return [recalibration.mapped(found, scored_N, np.array(made.quantile_map), levels, quantiles)]
        return []


def plan(
    config: PredictConfig, trained: TrainConfig, known: Description, arrays: Arrays, fingerprint: Fingerprint,
    step: int, num_draws: int, kept: Calibration | None,
) -> Calibrating:  # fmt: skip
    """Return how a prediction is calibrated. kept: the calibration of the run, equal on all ranks.

    Raises:
      UserError: a calibration is asked for on examples without labels, on too few of them, or on training examples.
    """
    here = Calibration(step, num_draws, trained.run.seed, fingerprint.test, 0)
    nothing_N = np.zeros(len(arrays.x_test), bool)
    if not (config.coverage or config.calibrate):
        if not kept:
            return Calibrating(None, nothing_N, asked=False)
        if kept.predictions != here.predictions:
            note = (
                f"{records.CALIBRATION} is of {kept.num_draws} draws at step {kept.step}, and was not applied: give "
                f"--num_draws={kept.num_draws}, or calibrate again"
            )
            return Calibrating(None, nothing_N, asked=False, note=note)
        part_N = calibration_part(arrays.y_test) if kept.fingerprint == fingerprint.test else nothing_N
        return Calibrating(kept, part_N, asked=False)
    part_N = calibration_part(arrays.y_test)
    check_part(part_N, config, trained, known, arrays, fingerprint)
    here = dataclasses.replace(here, num_calibration=int(part_N.sum()))
    same = kept and (kept.predictions, kept.fingerprint) == (here.predictions, here.fingerprint)
    return Calibrating(kept if same else here, part_N, asked=True)


def calibration_part(y: np.ndarray) -> np.ndarray:
    """Return which examples calibrate, bool [N]: a half of those with a label."""
    rows = np.flatnonzero(labelled(y))
    part_N = np.zeros(len(y), bool)
    part_N[rows[split.test_rows(len(rows), PART)]] = True
    return part_N


def labelled(y: np.ndarray) -> np.ndarray:
    """Return which examples have a label, bool [N]; of several columns, all of them."""
    return has_label(y).reshape(len(y), -1).all(axis=1)


def check_part(
    part_N: np.ndarray, config: PredictConfig, trained: TrainConfig, known: Description, arrays: Arrays,
    fingerprint: Fingerprint,
) -> None:  # fmt: skip
    """Raise UserError unless there are enough calibration examples, which the run was not trained on."""
    asked = f"--coverage={config.coverage:g}" if config.coverage else f"--calibrate={config.calibrate}"
    least = max(FEWEST, fewest(config.coverage))
    if part_N.sum() < least:
        raise UserError(
            f"{asked} needs {least} examples to calibrate on, half of those with a label, and there are "
            f"{part_N.sum()}: give more with --data_dir"
        )
    seen = fraction_in(training_part(trained, known, arrays, fingerprint), arrays.x_test, arrays.y_test, part_N)
    if fingerprint.test == known.fingerprint.train or seen > MOST_SEEN:
        raise UserError(
            "the run was trained on the examples to calibrate on, where its predictions are better than on new ones: "
            "name others by --data_dir"
        )


def training_part(
    trained: TrainConfig, known: Description, arrays: Arrays, fingerprint: Fingerprint
) -> tuple[Inputs, np.ndarray] | None:
    """Return the inputs and the targets that the run was trained on, if they are still there."""
    if fingerprint.train == known.fingerprint.train:
        return arrays.x_train, arrays.y_train
    try:
        own = sources.load_configured(trained)
    except UserError:
        return None
    return (own.x_train, own.y_train) if Fingerprint.of(own).train == known.fingerprint.train else None


def fraction_in(train: tuple[Inputs, np.ndarray] | None, x: Inputs, y: np.ndarray, part_N: np.ndarray) -> float:
    """Return which fraction of some examples is, with its targets, in the training part."""
    if train is None:
        return 0.0
    wanted = {key for key, inside in zip(_keys(x, y), part_N, strict=True) if inside}
    return len(wanted.intersection(_keys(*train))) / len(wanted)


def _keys(x: Inputs, y: np.ndarray) -> Iterator[int]:
    """Yield a number for each example with its target, equal for equal ones."""
    blocks = x.blocks() if isinstance(x, StoredArray) else [x]
    examples = (example for block in blocks for example in block)
    return (hash((example.tobytes(), target.tobytes())) for example, target in zip(examples, y, strict=True))


def read(run: Path) -> Calibration | None:
    """Return the calibration that a run keeps, None without one; UserError if its file is damaged."""
    path = run / records.CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration(**records.read_table(path))
    except TypeError as error:
        raise records.damaged(path, error) from None


def write(run: Path, made: Calibration) -> None:
    records.write_json(run / records.CALIBRATION, dataclasses.asdict(made))


def lines(report: dict[str, Any], note: str) -> list[str]:
    """Return the lines that `predict` prints."""
    found = conformal.lines(report.get("conformal", {})) + recalibration.lines(report.get("calibrated", {}))
    return [*found, *([note] if note else [])]
