"""Figures of a regression: the curve with its uncertainty, the curve for different numbers of draws, calibration.

Shapes: T training examples, N test examples, G points of the grid, S draws or particles.
"""

from pathlib import Path

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
MAX_LINES = 12
# Limits of the axes, as multiples of the range of the data and the curve: far from the data the bands can be wide.
MOST_STD = 2.0
HEADROOM = 0.6  # above and below


def curve(run: Path) -> Figure:
    """Draw the data, the truth, the mean, and bands of one and two standard deviations, over the inputs."""
    found = style.read_npz(run / records.PREDICTIVE, *CURVE, optional=("grid_truth_G",))
    figure = style.figure("Prediction and its uncertainty", run, 10, 7.5)
    upper, lower = style.grid(figure, 2, 1)
    _data_and_truth(upper, found)
    _bands(upper, found["grid_x_G"], found["grid_mean_G"], found["grid_total_std_G"])
    upper.set(title="bands: one and two standard deviations in total", xlabel="x", ylabel="y")
    upper.legend(loc="upper center", ncols=5)
    for name, label, colour in (
        ("total", "total", style.BLACK), ("aleatoric", "aleatoric: noise in the data", style.ORANGE),
        ("epistemic", "epistemic: disagreement of draws", style.BLUE),
    ):  # fmt: skip
        lower.plot(found["grid_x_G"], found[f"grid_{name}_std_G"], color=colour, label=label)
    _edges(lower, found["x_train_T"])
    lower.set(title="standard deviation: the total and its two parts", xlabel="x", ylabel="standard deviation of y")
    largest = min(found["grid_total_std_G"].max(), MOST_STD * np.ptp(_values(found)))
    lower.set_ylim(0, 1.25 * largest)  # room for the legend
    lower.legend(loc="upper center", ncols=4, fontsize=8)
    return figure


def particles(run: Path) -> Figure:
    """Draw the mean and the spread of 2, 4 and 8 draws; a draw of an ensemble is a particle."""
    found = style.read_npz(run / records.PREDICTIVE, *CURVE, optional=("grid_truth_G",))
    draws_SG = found["grid_draws_SG"]
    counts = [count for count in COUNTS if count <= len(draws_SG)] or [len(draws_SG)]
    figure = style.figure("Number of draws", run, 4.2 * len(counts), 4.2)
    for axes, count in zip(style.grid(figure, len(counts), len(counts)), counts, strict=True):
        first_SG = draws_SG[:count]
        _data_and_truth(axes, found)
        _bands(axes, found["grid_x_G"], first_SG.mean(0), first_SG.std(0))
        axes.plot(found["grid_x_G"], first_SG[:MAX_LINES].T, color=style.VERMILION, linewidth=0.6, alpha=0.7)
        axes.set(title=f"{count} draws", xlabel="x", ylabel="y")
    figure.supxlabel("bands: one and two epistemic standard deviations; thin lines: single draws", fontsize=9)
    return figure


def calibration(run: Path) -> Figure:
    """Draw the observed over the predicted quantiles, and the predictions over the targets."""
    found = style.read_npz(run / records.PREDICTIVE, "pit_N", "mean_N", "total_std_N", "y_N")
    figure = style.figure("Calibration and accuracy", run, 10, 4.6)
    left, right = style.grid(figure, 2, 2)
    expected = np.arange(1, 100) / 100
    left.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", label="calibrated")
    left.plot(expected, regression.calibration(found["pit_N"], expected), color=style.BLUE, label="this run")
    error = regression.calibration_error(found["pit_N"])
    left.set(
        title=f"calibration error {error:.3f}", xlabel="predicted quantile", ylabel="fraction of targets below it",
        aspect="equal",
    )  # fmt: skip
    left.legend(loc="upper left")
    shown = style.evenly(len(found["y_N"]), MAX_POINTS)
    right.errorbar(
        found["y_N"][shown], found["mean_N"][shown], found["total_std_N"][shown], fmt="o", markersize=2.5,
        linewidth=0.5, color=style.BLUE, ecolor=style.SKY,
    )  # fmt: skip
    right.axline((found["y_N"][0], found["y_N"][0]), slope=1, color=style.GREY, linestyle="--")
    rmse = regression.rmse(found["mean_N"], found["y_N"])
    right.set(title=f"RMSE {rmse:.3g}; bars: one standard deviation", xlabel="target", ylabel="prediction")
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
    low, high = float(_values(found).min()), float(_values(found).max())
    axes.set_ylim(low - HEADROOM * (high - low), high + HEADROOM * (high - low))


def _values(found: dict[str, np.ndarray]) -> np.ndarray:
    """Return the values that must be visible: the data and the curve."""
    return np.concatenate([found["y_train_T"], found["grid_mean_G"]])


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
