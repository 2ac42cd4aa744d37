"""The verb `plot`: draws `plots/*.png` (or pdf, svg) from the files of a run directory.

A figure is one function from the run directory to a matplotlib Figure, and one row in FIGURES. It draws a file that
`train` or `predict` wrote; without the file it is skipped. `plot` never imports TensorFlow, so that the files can be
copied to a laptop and plotted there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from bnn_hvd import registry
from bnn_hvd.config import PlotConfig
from bnn_hvd.errors import UserError
from bnn_hvd.plots import (
    calibration,
    chains,
    columns,
    conformal,
    maps,
    predictive,
    recommendations,
    regression,
    selective,
    shift,
    style,
    training,
)
from bnn_hvd.run import records


class Row(NamedTuple):
    """A figure: `draw` reads the `source` of the run, a file or a folder of .npz; the verb `written_by` writes it.

    needs: an array of `source`; runs of another kind (classes, real values, a curve) do not have it, nor this figure.
    optional: most runs do not have the source, so `plot` prints nothing if it is missing.
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
    "predictive_draws_confident": Row(predictive.confident, records.PREDICTIVE, "predict", "draws_SKC"),
    "predictive_draws_doubtful": Row(predictive.doubtful, records.PREDICTIVE, "predict", "draws_SKC"),
    "uncertainty_maps": Row(maps.uncertainty_maps, records.PREDICTIVE, "predict", "map_index_K"),
    "reliability": Row(calibration.reliability, records.PREDICTIVE, "predict", "labels_N"),
    "uncertainty_histogram": Row(calibration.uncertainty_histogram, records.PREDICTIVE, "predict", "probs_NC"),
    "risk_coverage": Row(selective.risk_coverage, records.PREDICTIVE, "predict", "labels_N"),
    "rmse_over_coverage": Row(selective.rmse_over_coverage, records.PREDICTIVE, "predict", "crps_N"),
    "out_of_distribution": Row(
        selective.out_of_distribution, records.PREDICTIVE, "predict", "ood_predictive_entropy_M"
    ),
    "conformal": Row(conformal.conformal, records.PREDICTIVE, "predict", "conformal_scored_N"),
    "corrupted": Row(shift.corrupted, records.PREDICTIVE, "predict", "corrupted_level_K"),
    "curve": Row(regression.curve, records.PREDICTIVE, "predict", "grid_x_G"),
    "particles": Row(regression.particles, records.PREDICTIVE, "predict", "grid_x_G"),
    "predictions": Row(regression.predictions, records.PREDICTIVE, "predict", "mean_N"),
    "calibration": Row(regression.calibration, records.PREDICTIVE, "predict", "pit_N"),
    "probability_plot": Row(columns.probability_plot, records.PREDICTIVE, "predict", "pit_ND"),
    "coverage_over_snr": Row(columns.coverage_over_snr, records.PREDICTIVE, "predict", "snr_N"),
    "strain": Row(columns.strain, records.PREDICTIVE, "predict", "strain_NT"),
    "unseen": Row(columns.unseen, records.PREDICTIVE, "predict", "noise_predictive_entropy_M"),
    "exact_posteriors": Row(columns.exact_posteriors, records.PREDICTIVE, "predict", "exact_values_EMD"),
    "recommendations": Row(recommendations.recommendations, records.RECOMMENDATIONS, "predict", optional=True),
}


def main(config: PlotConfig) -> int:
    """Write each figure for which the run has the file, and print its path; returns the exit code.

    Raises:
      UserError: --run is no run directory, has nothing to plot, has a damaged file, or can't be written to.
    """
    run = find_prediction(Path(config.run), config.prediction) if config.prediction else Path(config.run)
    check_run(run)
    records.make_writable("the folder of the figures", run / records.PLOTS)
    figures = {name: row for name, row in FIGURES.items() if row.written_by == "predict" or not config.prediction}
    with matplotlib.rc_context(style.RC):
        for source, verb in dict.fromkeys((r.source, r.written_by) for r in figures.values() if not r.optional):
            if not has_content(run / source) and verb == "train" and (run / records.PRUNED_FROM).exists():
                print(f"some figures are skipped: no {source}; only the run that was pruned has it")
            elif not has_content(run / source):
                print(f"some figures are skipped: no {source}; `python -m bnn_hvd {verb} --run={run}` makes it")
        for name, row in figures.items():
            if not has_content(run / row.source):
                continue
            if row.needs and not has_array(run / row.source, row.needs):
                continue
            path = run / records.PLOTS / f"{name}.{config.format.lower()}"
            style.save(row.draw(run), path)
            print(path, flush=True)
    return 0


def draw(run: Path, name: str) -> Figure:
    """Return one figure of a run, or of the folder of a prediction.

    Raises:
      UserError: no figure has this name, or the run has not what it draws.
    """
    row = FIGURES[registry.known(FIGURES, name, "figure")]
    check_run(run)
    if not has_content(run / row.source):
        raise UserError(f"{run} has no {row.source}: `{row.written_by}` writes it")
    if row.needs and not has_array(run / row.source, row.needs):
        raise UserError(f"the figure {name} needs {row.needs}, which {run / row.source} has not: take another figure")
    with matplotlib.rc_context(style.RC):
        return row.draw(run)


def find_prediction(run: Path, prediction: str) -> Path:
    """Return the folder of --prediction: a path, or a name in `predictions` of the run.

    Raises:
      UserError: it has no prediction.
    """
    inside = run / records.PREDICTIONS
    for folder in (inside / prediction, Path(prediction)):
        if has_content(folder / records.PREDICTIVE):
            return folder
    known = ", ".join(sorted(path.name for path in inside.glob("*"))) or "none"
    raise UserError(f"--prediction={prediction} is no folder with a {records.PREDICTIVE}: those of {run} are {known}")


def check_run(run: Path) -> None:
    """Check that a run has at least one file to draw.

    Raises:
      UserError: it has none.
    """
    if not run.is_dir():
        raise UserError(f"--run={run}: there is no directory {run.absolute()}")
    if any(has_content(run / row.source) for row in FIGURES.values()):
        return
    if (run / records.CONFIG).exists():
        raise UserError(f"{run.absolute()} has nothing to plot yet: wait until `train` has logged its first steps")
    raise UserError(f"{run.absolute()} is not a run directory: none of the files of `train` or `predict` is in it")


def has_content(source: Path) -> bool:
    """Return whether a file has at least one byte, or a folder at least one .npz."""
    if source.is_dir():
        return any(source.glob("*.npz"))
    return source.is_file() and source.stat().st_size > 0


def has_array(source: Path, name: str) -> bool:
    with style.opened(source) as arrays:
        return name in arrays
