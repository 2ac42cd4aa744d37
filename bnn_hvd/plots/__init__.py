"""The verb `plot`: run directory -> `plots/*.png` (or pdf, svg), from files alone.

A figure is one function from the run directory to a matplotlib Figure, and one row in FIGURES. What
it draws was written by `train` or `predict`; a figure whose file isn't there is skipped. Never
imports TensorFlow: copy the files to a laptop, and plot there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from bnn_hvd.config import PlotConfig
from bnn_hvd.errors import UserError
from bnn_hvd.plots import calibration, chains, predictive, recommendations, regression, style, training
from bnn_hvd.run import records


class Row(NamedTuple):
    """`draw` reads `source` (a file, or a folder of .npz) of the run; the verb `written_by` makes it.

    needs: the array without which the run is of another kind (classes, targets, a curve), and has no such figure.
    optional: most runs have no such source, and nothing is said of it.
    """

    draw: Callable[[Path], Figure]
    source: str
    written_by: str
    needs: str = ""
    optional: bool = False


FIGURES = {
    "learning_curves": Row(training.learning_curves, records.METRICS, "train"),
    "weight_posteriors": Row(training.weight_posteriors, records.POSTERIOR, "train"),
    "traces": Row(chains.traces, records.CHAINS, "train", optional=True),
    "predictive_draws_confident": Row(predictive.confident, records.PREDICTIVE, "predict", "probs_NC"),
    "predictive_draws_doubtful": Row(predictive.doubtful, records.PREDICTIVE, "predict", "probs_NC"),
    "reliability": Row(calibration.reliability, records.PREDICTIVE, "predict", "probs_NC"),
    "uncertainty_histogram": Row(calibration.uncertainty_histogram, records.PREDICTIVE, "predict", "probs_NC"),
    "curve": Row(regression.curve, records.PREDICTIVE, "predict", "grid_x_G"),
    "particles": Row(regression.particles, records.PREDICTIVE, "predict", "grid_x_G"),
    "calibration": Row(regression.calibration, records.PREDICTIVE, "predict", "pit_N"),
    "recommendations": Row(recommendations.recommendations, records.RECOMMENDATIONS, "predict", optional=True),
}


def main(config: PlotConfig) -> int:
    """Write every figure that the run has the files for, and print its path.

    Raises:
      UserError: not a run directory, nothing in it to plot, a damaged file, no right to write.
    """
    run = Path(config.run)
    check_run(run)
    records.make_writable("the folder of the figures", run / records.PLOTS)
    with matplotlib.rc_context(style.RC):
        for source, verb in dict.fromkeys((r.source, r.written_by) for r in FIGURES.values() if not r.optional):
            if not has_content(run / source):
                print(f"some figures are skipped: no {source}; `python -m bnn_hvd {verb} --run={run}` makes it")
        for name, row in FIGURES.items():
            if not has_content(run / row.source):
                continue
            if row.needs and not has_array(run / row.source, row.needs):
                continue
            path = run / records.PLOTS / f"{name}.{config.format.lower()}"
            style.save(row.draw(run), path)
            print(path, flush=True)
    return 0


def check_run(run: Path) -> None:
    """Raise UserError unless `run` has at least one file to draw."""
    if not run.is_dir():
        raise UserError(f"--run={run}: there is no directory {run.absolute()}")
    if any(has_content(run / row.source) for row in FIGURES.values()):
        return
    if (run / records.CONFIG).exists():
        raise UserError(f"{run.absolute()} has nothing to plot yet: `train` has not logged anything")
    raise UserError(f"{run.absolute()} is not a run directory: none of the files of `train` or `predict` is in it")


def has_content(source: Path) -> bool:
    if source.is_dir():
        return any(source.glob("*.npz"))
    return source.is_file() and source.stat().st_size > 0


def has_array(source: Path, name: str) -> bool:
    with style.opened(source) as arrays:
        return name in arrays
