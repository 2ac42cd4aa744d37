"""Figures of the training: learning curves, and the weight posteriors from early to late.

Shapes: R rows of the log, B bins.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bnn_hvd.errors import UserError
from bnn_hvd.metrics.convergence import MOST_PULL
from bnn_hvd.plots import style
from bnn_hvd.run import records, rundir

SMOOTH_FROM_ROWS = 60  # a longer log is drawn as a running mean over a pale curve
FEW_ROWS = 15  # a shorter log is drawn with a dot per row
MAX_SNAPSHOTS = 6
MAX_HISTOGRAMS = 24


class Panel(NamedTuple):
    """A panel: the key in metrics.jsonl, the title, and the unit of the y axis."""

    key: str
    title: str
    unit: str


PANELS = (
    Panel("nll", "Negative log likelihood", "nats per example"),
    Panel("rmse", "Root mean squared error", "units of the target"),
    Panel("standardized_rmse", "Root mean squared error", "standard deviations of the targets"),
    Panel("accuracy", "Accuracy", "fraction correct"),
    Panel("kl", "KL(posterior || prior)", "nats"),
    Panel("elbo", "Evidence lower bound (ELBO)", "nats per example"),
    Panel("scale_pull", "Pull of the standard deviations", "nats per weight"),
    Panel("mean_pull", "Pull of the means", "nats per weight"),
)

PULLS = ("scale_pull", "mean_pull")
HISTOGRAMS = {"loc": "posterior mean", "scale": "posterior standard deviation"}


def learning_curves(run: Path) -> Figure:
    """Draw each quantity of PANELS that the log has over the epochs, of the training and the test part."""
    rows = records.read_jsonl(run / records.METRICS)
    latest = max((row.get("first_member", 0) for row in rows), default=0)
    rows = [row for row in rows if row.get("first_member", 0) == latest]  # particles added later begin at epoch 0
    panels = [panel for panel in PANELS if len(series(rows, panel.key)[1])]
    if not panels:
        raise UserError(f"{(run / records.METRICS).absolute()} has no row to plot: train longer")
    figure = style.figure("Learning curves", run, 10, 1 + 2.9 * ((len(panels) + 1) // 2))
    data = run / records.DATA
    counted = "label" if data.exists() and records.read_json(data)["label_shape"] else "example"
    for axes, panel in zip(style.grid(figure, len(panels), 2), panels, strict=True):
        _curves(axes, panel._replace(unit=panel.unit.replace("example", counted)), rows)
    return figure


def _curves(axes: Axes, panel: Panel, rows: list[dict[str, Any]]) -> None:
    train, test = ([row for row in rows if row["kind"] == kind] for kind in ("train", "eval"))
    _train_curve(axes, *series(train, panel.key))
    _test_curve(axes, *series(test, panel.key), test)
    axes.set(title=panel.title, xlabel="epoch", ylabel=panel.unit)
    if panel.key in PULLS:
        _pull_axis(axes)
    elif panel.key == "nll":
        _log_axis(axes, series(rows, "nll")[1])
    elif panel.key != "accuracy":
        _shade_warmup(axes, train)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
    axes.set_xlim(left=0)
    axes.legend(loc="best")


def series(rows: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (epochs_R, values_R) of the rows that have a finite value under the key."""
    pairs = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
    epochs_values = np.array(pairs, np.float64).reshape(-1, 2)
    return epochs_values[:, 0], epochs_values[:, 1]


def _train_curve(axes: Axes, epochs_R: np.ndarray, values_R: np.ndarray) -> None:
    half = len(values_R) // 60 if len(values_R) > SMOOTH_FROM_ROWS else 0
    if not len(values_R):
        return
    if half:
        axes.plot(epochs_R, values_R, color=style.SKY, linewidth=0.7, alpha=0.6)
    label = f"train (running mean of {2 * half + 1} rows)" if half else "train"
    marker = "." if len(values_R) <= FEW_ROWS else None
    axes.plot(epochs_R, running_mean(values_R, half), color=style.BLUE, label=label, marker=marker)


def running_mean(values_R: np.ndarray, half: int) -> np.ndarray:
    """Return the means over `half` rows on either side; near the ends over as few on either side as there are.

    So it has a value for every row, and the first and the last are those of the log.
    """
    width_R = np.minimum(half, np.minimum(np.arange(len(values_R)), np.arange(len(values_R))[::-1]))
    return np.array([values_R[row - width : row + width + 1].mean() for row, width in enumerate(width_R)])


def _test_curve(axes: Axes, epochs_R: np.ndarray, values_R: np.ndarray, rows: list[dict[str, Any]]) -> None:
    if len(values_R):
        draws = rows[-1].get("num_draws", 1)
        label = f"test ({draws} draws), last {values_R[-1]:.4f}" if draws > 1 else f"test, last {values_R[-1]:.4f}"
        axes.plot(epochs_R, values_R, color=style.VERMILION, marker="o", markersize=4.5, label=label)


def _pull_axis(axes: Axes) -> None:
    """Shade where a run has converged. A pull of -1 is that of the entropy alone, without the data's."""
    axes.axhspan(-MOST_PULL, MOST_PULL, color=style.GREEN, alpha=0.2, lw=0, label=f"converged: within {MOST_PULL}")
    axes.set_ylim(-1.1, 1.1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))


def _log_axis(axes: Axes, values_R: np.ndarray) -> None:
    """Make the y axis logarithmic if the largest value is more than five times the smallest."""
    if values_R.min() > 0 and values_R.max() > 5 * values_R.min():
        axes.set_yscale("log")
        style.log_axis(axes.yaxis, values_R.min(), values_R.max())


def _shade_warmup(axes: Axes, train: list[dict[str, Any]]) -> None:
    """Shade the epochs of the KL warm-up."""
    epochs_R, weights_R = series(train, "kl_weight")
    if len(weights_R) and weights_R[0] < weights_R.max():
        axes.axvspan(0, epochs_R[np.argmax(weights_R)], color=style.ORANGE, alpha=0.15, lw=0, label="KL warm-up")


def weight_posteriors(run: Path) -> Figure:
    """Draw, per layer, the histograms of the means and the standard deviations of its weights, from early to late.

    Layers with deterministic weights are left out. If all layers are such, the histograms of the kernels are drawn.
    """
    files = sorted((run / records.POSTERIOR).glob("step_*.npz"))
    if not files:
        raise UserError(f"{(run / records.POSTERIOR).absolute()} has no file step_*.npz: `train` writes it")
    files = [files[i] for i in style.evenly(len(files), MAX_SNAPSHOTS)]
    snapshots = dict(zip(_times(run, files), map(style.read_npz, files), strict=True))
    panels = _histograms(list(snapshots.values())[-1])
    columns = 2 if len(panels) <= 6 else 4
    rows = -(-len(panels) // columns)
    bayesian = any(key == "scale" for _, key in panels)
    title = ("Weight posteriors" if bayesian else "Weights") + _if_not_converged(run)
    figure = style.figure(title, run, 9 if columns == 2 else 12, 1.3 + (2.6 if columns == 2 else 2.1) * rows)
    colours = [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.9, 0.05, len(snapshots)))]
    for i, (axes, (layer, key)) in enumerate(zip(style.grid(figure, len(panels), columns), panels, strict=True)):
        name = f"{layer}/{key}"  # early files of swag have no scale: it has collected no moments yet
        coloured = zip(colours, snapshots.values(), strict=True)
        _overlay(axes, [(colour, arrays) for colour, arrays in coloured if f"{name}_counts" in arrays], name)
        axes.set(title=layer, xlabel=HISTOGRAMS[key] if bayesian else "weight")
        axes.set_ylabel("density (peak = 1)" if i % columns == 0 else "")
    lines = [Line2D([], [], color=colour, label=time) for colour, time in zip(colours, snapshots, strict=True)]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
    return figure


def _if_not_converged(run: Path) -> str:
    """Return what the title says of a finished run that has not converged."""
    verdict = rundir.read_summary(run).get("convergence")
    return " of a run that has not converged" if verdict and verdict["converged"] is False else ""


def _times(run: Path, files: list[Path]) -> list[str]:
    """Return `epoch 3` for each file, or `step 123` if the log has no row of this step."""
    steps = [int(file.stem.split("_")[1]) for file in files]
    epochs = {0: 0.0} | {row["step"]: row["epoch"] for row in records.read_jsonl(run / records.METRICS)}
    return [f"epoch {epochs[step]:.3g}" if step in epochs else f"step {step}" for step in steps]


def _histograms(arrays: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Return (layer, loc or scale) for each panel; at most MAX_HISTOGRAMS, of evenly spread layers."""
    layers = [key.removesuffix("/loc_counts") for key in arrays if key.endswith("/loc_counts")]
    keys = ["loc", "scale"]
    bayesian = [layer for layer in layers if f"{layer}/scale_counts" in arrays]
    if not bayesian:
        keys, bayesian = ["loc"], [layer for layer in layers if layer.endswith("kernel")] or layers
    most = style.evenly(len(bayesian), MAX_HISTOGRAMS // len(keys))
    return [(bayesian[i], key) for i in most for key in keys]


def _overlay(axes: Axes, histograms: list[tuple[str, dict[str, np.ndarray]]], name: str) -> None:
    """Draw one histogram per colour, each scaled to a peak of 1: weights that hardly differ have a huge density."""
    ranges = []
    for i, (colour, arrays) in enumerate(histograms):
        counts_B, edges = arrays[f"{name}_counts"], arrays[f"{name}_edges"].astype(np.float64)
        values, heights = _density(counts_B, edges)
        if i in (0, len(histograms) - 1):
            axes.fill_between(values, heights, color=colour, alpha=0.25, lw=0)
        axes.plot(values, heights, color=colour)
        ranges.append(_bulk(values, heights))
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    margin = 0.05 * (high - low) or 1e-3
    low = max(low - margin, 0) if name.endswith("scale") else low - margin  # no standard deviation is below 0
    axes.set(xlim=(low, high + margin), ylim=(0, 1.08), yticks=(0, 0.5, 1))
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _density(counts_B: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (values, heights) of a smoothed curve through the bins, with a peak of 1 and both ends at 0.

    Weights that are all equal are a vertical line: the width of their bins is np.histogram's choice, not theirs.
    """
    if np.count_nonzero(counts_B) == 1:
        return np.full(3, edges[[0, -1]].mean()), np.array([0.0, 1.0, 0.0])
    size = max(1, len(counts_B) // style.rice(counts_B.sum()))  # merge bins if there are few weights, as of biases
    counts_B = np.add.reduceat(counts_B, np.arange(0, len(counts_B), size))
    edges = np.append(edges[:-1:size], edges[-1])
    width = np.diff(edges)
    counts = np.convolve(np.pad(counts_B, 2), (0.25, 0.5, 0.25), "same")
    density = counts / np.pad(np.maximum(width, 1e-30), 2, mode="edge")
    centres = (edges[:-1] + edges[1:]) / 2
    before, after = centres[0] - width[0] * np.array([2, 1]), centres[-1] + width[-1] * np.array([1, 2])
    return np.concatenate([before, centres, after]), density / max(density.max(), 1e-30)


def _bulk(values: np.ndarray, heights: np.ndarray) -> tuple[float, float]:
    """Return the range of values without 0.3 % of the curve's area on either side."""
    below = np.cumsum(heights) / max(heights.sum(), 1e-30)
    first, last = np.searchsorted(below, (0.003, 0.997))
    return float(values[max(first - 1, 0)]), float(values[min(last + 1, len(values) - 1)])
