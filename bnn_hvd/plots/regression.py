"""Figures of a regression: the curve with its uncertainty, the curve for different numbers of draws, calibration.

Shapes: T training examples, N test examples, G points of the grid, S draws or particles.
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn_hvd.metrics import regression
from bnn_hvd.plots import style
from bnn_hvd.run import records

CURVE = ("x_train_T", "y_train_T", "grid_x_G", "grid_mean_G", "grid_aleatoric_std_G", "grid_epistemic_std_G",
         "grid_total_std_G", "grid_draws_SG")  # fmt: skip
COUNTS = (2, 4, 8)  # draws of each panel
MAX_POINTS = 1000
MAX_BARS = 200  # points with error bars; more are one blot
MAX_LINES = 12
WIDEST = 2.0  # from the middle of the data to an end of the y axis, in ranges of the data: bands can be far wider
LOG_FROM = 10.0  # ratio of the largest to the smallest standard deviation from which their axis is logarithmic
BESIDE: Any = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}  # a legend where no curve can cross it


def curve(run: Path) -> Figure:
    """Draw the data, the truth, the mean, and bands of one and two standard deviations, over the inputs."""
    found = style.read_npz(run / records.PREDICTIVE, *CURVE, optional=("grid_truth_G",))
    figure = style.figure("Prediction and its uncertainty", run, 12, 7.5)
    upper, lower = style.grid(figure, 2, 1)
    _data_and_truth(upper, found)
    _bands(upper, found["grid_x_G"], found["grid_mean_G"], found["grid_total_std_G"])
    upper.set(title="bands: one and two standard deviations in total", xlabel="x", ylabel="y")
    upper.legend(**BESIDE)
    for name, label, colour, width in (
        ("total", "total", style.GREY, 5), ("aleatoric", "aleatoric:\nnoise in the data", style.ORANGE, 1.8),
        ("epistemic", "epistemic:\ndisagreement of draws", style.BLUE, 1.8),
    ):  # fmt: skip
        lower.plot(found["grid_x_G"], found[f"grid_{name}_std_G"], color=colour, linewidth=width, label=label)
    _edges(lower, found["x_train_T"])
    lower.set(title="standard deviation: the total and its two parts", xlabel="x", ylabel="standard deviation of y")
    _axis_of_deviations(lower, *(found[f"grid_{name}_std_G"] for name in ("aleatoric", "epistemic")))
    lower.legend(**BESIDE)
    return figure


def _axis_of_deviations(axes: Axes, *parts_G: np.ndarray) -> None:
    """Begin the y axis at 0; if the parts differ by orders of magnitude, make it logarithmic."""
    largest = max(float(part_G.max()) for part_G in parts_G)
    smallest = min(float(part_G.max()) for part_G in parts_G)
    if 0 < LOG_FROM * smallest < largest:
        axes.set(yscale="log", ylim=(0.1 * smallest, 2 * largest))
        style.log_axis(axes.yaxis, *axes.get_ylim())
    else:
        axes.set_ylim(bottom=0)


def particles(run: Path) -> Figure:
    """Draw the mean and the spread of 2, 4 and 8 draws; a draw of an ensemble is a particle."""
    found = style.read_npz(run / records.PREDICTIVE, *CURVE, optional=("grid_truth_G",))
    draws_SG = found["grid_draws_SG"]
    counts = [count for count in COUNTS if count <= len(draws_SG)] or [len(draws_SG)]
    figure = style.figure("Number of draws", run, 4.2 * len(counts), 4.2)
    for axes, count in zip(style.grid(figure, len(counts), len(counts)), counts, strict=True):
        first_SG = draws_SG[:count]
        _data_and_truth(axes, found)
        axes.plot(found["grid_x_G"], first_SG[:MAX_LINES].T, color=style.VERMILION, linewidth=0.6, alpha=0.7)
        _bands(axes, found["grid_x_G"], first_SG.mean(0), first_SG.std(0))
        axes.set(title=f"{count} draws", xlabel="x", ylabel="y")
    figure.supxlabel("bands: one and two epistemic standard deviations; thin lines: single draws", fontsize=9)
    return figure


def calibration(run: Path) -> Figure:
    """Draw the observed over the predicted quantiles, and the predictions over the targets."""
    more = ("calibrated_pit_N", "calibration_part_N")
    found = style.read_npz(run / records.PREDICTIVE, "pit_N", "mean_N", "total_std_N", "y_N", optional=more)
    found = {name: values_N[~np.isnan(found["y_N"])] for name, values_N in found.items()}
    figure = style.figure("Calibration and accuracy", run, 10, 4.6)
    left, right = style.grid(figure, 2, 2)
    expected = np.arange(1, 100) / 100
    left.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", label="calibrated")
    left.plot(expected, regression.calibration(found["pit_N"], expected), color=style.BLUE, label="this run")
    if "calibrated_pit_N" in found:
        mapped_N = found["calibrated_pit_N"][~found.get("calibration_part_N", np.zeros(len(found["y_N"]), bool))]
        label = f"recalibrated, other half: {regression.calibration_error(mapped_N):.3f}"
        left.plot(expected, regression.calibration(mapped_N, expected), color=style.GREEN, label=label)
    error = regression.calibration_error(found["pit_N"])
    left.set(
        title=f"calibration error {error:.3f}", xlabel="predicted quantile", ylabel="fraction of targets below it",
        aspect="equal",
    )  # fmt: skip
    left.legend(loc="best")
    shown = style.evenly(len(found["y_N"]), MAX_BARS)
    right.errorbar(
        found["y_N"][shown], found["mean_N"][shown], found["total_std_N"][shown], fmt="o", markersize=2.5,
        linewidth=0.5, color=style.BLUE, ecolor=style.SKY,
    )  # fmt: skip
    right.axline((found["y_N"][0], found["y_N"][0]), slope=1, color=style.BLACK, linestyle="--", zorder=3)
    rmse = regression.rmse(found["mean_N"], found["y_N"])
    right.set(title=f"RMSE {rmse:.3g}; bars: one standard deviation", xlabel="target", ylabel="prediction")
    return figure


def predictions(run: Path) -> Figure:
    """Draw the prediction of each example with its standard deviation, and which part of that is epistemic."""
    names = ("mean_N", "total_std_N", "aleatoric_std_N", "epistemic_std_N")
    found = style.read_npz(run / records.PREDICTIVE, *names, "row_N")
    found["row_N"] = np.repeat(found["row_N"], found["mean_N"].size // len(found["row_N"]))  # of each label
    found = {name: values.reshape(-1) for name, values in found.items()}
    shown = style.evenly(len(found["row_N"]), MAX_BARS)
    row_N, mean_N, total_N, aleatoric_N, epistemic_N = (found[name][shown] for name in ("row_N", *names))
    figure = style.figure("Predictions", run, 10, 4.6)
    left, right = style.grid(figure, 2, 2)
    left.errorbar(row_N, mean_N, total_N, fmt="o", markersize=2.5, linewidth=0.5, color=style.BLUE, ecolor=style.SKY)
    left.set(title="bars: one standard deviation", xlabel="row of the data", ylabel="prediction")
    right.plot(mean_N, aleatoric_N, "o", markersize=2.5, color=style.ORANGE, label="aleatoric")
    right.plot(mean_N, epistemic_N, "o", markersize=2.5, color=style.BLUE, label="epistemic")
    right.set(title="where the prediction is uncertain", xlabel="prediction", ylabel="standard deviation")
    right.legend(loc="best")
    return figure


def _data_and_truth(axes: Axes, found: dict[str, np.ndarray]) -> None:
    shown = style.evenly(len(found["x_train_T"]), MAX_POINTS)
    axes.plot(
        found["x_train_T"][shown], found["y_train_T"][shown], "o", markersize=2, color=style.GREY, alpha=0.5,
        label="training data",
    )  # fmt: skip
    if "grid_truth_G" in found:
        axes.plot(
            found["grid_x_G"], found["grid_truth_G"], color=style.BLACK, linestyle="--", linewidth=1, label="truth"
        )
    _edges(axes, found["x_train_T"])
    axes.set_ylim(*limits(found))


def limits(found: dict[str, np.ndarray]) -> tuple[float, float]:
    """Return the ends of the y axis: data, truth and bands are inside, but no end is far from the data."""
    data = np.concatenate([found["y_train_T"], found.get("grid_truth_G", found["y_train_T"])])
    band_G = 2 * found["grid_total_std_G"]
    drawn = np.concatenate([data, found["grid_mean_G"] - band_G, found["grid_mean_G"] + band_G])
    middle, most = (data.min() + data.max()) / 2, WIDEST * np.ptp(data)
    margin = 0.05 * np.ptp(drawn)
    return max(drawn.min() - margin, middle - most), min(drawn.max() + margin, middle + most)


def _bands(axes: Axes, x_G: np.ndarray, mean_G: np.ndarray, std_G: np.ndarray) -> None:
    for times, alpha in ((2, 0.25), (1, 0.45)):
        label = "one and two deviations" if times == 1 else None
        axes.fill_between(
            x_G, mean_G - times * std_G, mean_G + times * std_G, color=style.SKY, alpha=alpha, linewidth=0, label=label
        )
    axes.plot(x_G, mean_G, color=style.BLUE, label="mean")


def _edges(axes: Axes, x_train_T: np.ndarray) -> None:
    for edge, label in ((x_train_T.min(), "edges of the training data"), (x_train_T.max(), None)):
        axes.axvline(edge, color=style.GREEN, linewidth=1, linestyle=":", label=label)
