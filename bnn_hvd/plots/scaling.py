"""Figures of a scaling study: training time by number of nodes, and speed-up with its prediction.

Rows and predictions are those of `bnn_hvd.scaling`, by model, in ascending number of ranks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bnn_hvd.plots import style

Rows = dict[str, list[Any]]
COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION, style.SKY, style.GREY)
MARKERS = "osD^vX"


def training_time(run: Path, rows: Rows, caption: str) -> Figure:
    """Training time, without compilation and evaluation, as bars by nodes (or ranks), models side by side."""
    unit, counts = unit_of(rows), _counts(rows)
    figure = style.figure("Training time", run, max(5.5, 1.2 + 0.9 * len(counts) * len(rows)), 4.4)
    axes = figure.add_subplot()
    width = 0.8 / len(rows)
    for i, (model, mine) in enumerate(rows.items()):
        left = [counts.index(units(row, unit)) + (i - (len(rows) - 1) / 2) * width for row in mine]
        seconds = np.array([row.train_wall_s for row in mine])
        spread = [seconds - [row.train_wall_s_min for row in mine], [row.train_wall_s_max for row in mine] - seconds]
        bars = axes.bar(left, seconds, 0.94 * width, color=COLOURS[i % len(COLOURS)], label=model)
        if any(row.repeats > 1 for row in mine):
            axes.errorbar(left, seconds, spread, fmt="none", ecolor=style.BLACK, elinewidth=1, capsize=3)
        axes.bar_label(bars, [f"{value:.3g} s" for value in seconds], label_type="center", color="white", weight="bold")
    axes.set(xticks=range(len(counts)), xticklabels=counts, xlabel=_axis_label(rows, unit), ylabel="training time (s)")
    axes.grid(visible=False, axis="x")
    axes.set_title(caption + _repeats(rows), loc="left")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def speed_up(run: Path, rows: Rows, predictions: Rows, caption: str, link: str) -> Figure:
    """Speed-up against nodes (or ranks) with the ideal line; beside it, where it leads on the given interconnect."""
    figure = style.figure("Speed-up", run, 10 if predictions else 5.5, 4.9)
    panels = style.grid(figure, 2 if predictions else 1, 2 if predictions else 1)
    _measured(panels[0], rows)
    panels[0].set_title(f"measured: {caption}", loc="left", wrap=True)
    if predictions:
        _predicted(panels[1], rows, predictions)
        panels[1].set_title("and predicted", loc="left")
        figure.supxlabel(assumptions(predictions, link), fontsize=8.5, color="#444444")
    return figure


def _measured(axes: Axes, rows: Rows) -> None:
    unit, counts = unit_of(rows), _counts(rows)
    ends = np.array([counts[0], counts[-1]])
    axes.plot(ends, ends / counts[0], color=style.GREY, linestyle=":", label="ideal")
    for i, (model, mine) in enumerate(rows.items()):
        efficiency = f"{model}: {mine[-1].efficiency:.0%} of ideal on {units(mine[-1], unit)}"
        _line(axes, i, [units(row, unit) for row in mine], [row.speed_up for row in mine], label=efficiency)
    axes.set(xticks=counts, xlabel=_axis_label(rows, unit), ylabel=f"speed-up in examples/s, against {counts[0]}")
    axes.set_ylim(0)
    axes.legend(loc="lower right")


def _predicted(axes: Axes, rows: Rows, predictions: Rows) -> None:
    """Measured points and their dashed continuation, both axes logarithmic."""
    unit = unit_of(rows)
    first = _counts(rows)[0]
    last = max(prediction.nodes for mine in predictions.values() for prediction in mine)
    axes.plot([first, last], [1, last / first], color=style.GREY, linestyle=":", label="ideal")
    for i, (model, mine) in enumerate(rows.items()):
        _line(axes, i, [units(row, unit) for row in mine], [row.speed_up for row in mine])
        ahead = predictions[model]
        best = max(ahead, key=lambda prediction: prediction.speed_up)
        label = f"{model}: {best.speed_up:.3g} times on {best.nodes:,}"
        label += "" if best.nodes == ahead[-1].nodes else ", then falling"
        nodes, values = [each.nodes for each in ahead], [each.speed_up for each in ahead]
        axes.plot(nodes, values, color=COLOURS[i % len(COLOURS)], linestyle="--", label=label)
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel=f"speed-up, against {first}")
    for axis, top in ((axes.xaxis, last), (axes.yaxis, last / first)):
        axis.set_major_locator(FixedLocator(_powers_of_two(top)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.legend(loc="upper left", title="dashed: predicted, to its best")


def assumptions(predictions: Rows, link: str) -> str:
    """Return what the dashed lines assume, in a few words."""
    first = next(iter(predictions.values()))[0]
    per_node = max(1, first.ranks // first.nodes)
    return (
        f"Prediction: ring all-reduce, {link}; {_one_or_range([per_node], 'rank')} per node; computation and\n"
        f"the rest of communication (coordination, waiting) as measured on {_one_or_range([first.ranks], 'rank')}."
    )


def _line(axes: Axes, i: int, x: Sequence[float], y: Sequence[float], label: str | None = None) -> None:
    axes.plot(x, y, color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=7, label=label)


def _powers_of_two(top: float) -> list[int]:
    """Return the powers of two up to `top`, every second or third where there are many."""
    exponent = max(1, int(np.log2(top)))
    return [2**k for k in range(0, exponent + 1, 1 + exponent // 7)]


def unit_of(rows: Rows) -> str:
    """Return what the study varied: nodes, or ranks where all runs had as many nodes."""
    return "nodes" if len({row.nodes for mine in rows.values() for row in mine}) > 1 else "ranks"


def units(row: Any, unit: str) -> int:
    return getattr(row, unit)


def _counts(rows: Rows) -> list[int]:
    return sorted({units(row, unit_of(rows)) for mine in rows.values() for row in mine})


def _axis_label(rows: Rows, unit: str) -> str:
    """Return e.g. `nodes (4 ranks x 8 threads each)`."""
    everyone = [row for mine in rows.values() for row in mine]
    threads = _one_or_range([row.threads for row in everyone], "thread")
    if unit == "ranks":
        return f"ranks of {threads}, on {_one_or_range([row.nodes for row in everyone], 'node')}"
    return f"nodes ({_one_or_range([row.ranks // row.nodes for row in everyone], 'rank')} of {threads} on each)"


def _one_or_range(values: Sequence[int], noun: str) -> str:
    low, high = min(values), max(values)
    return f"{low if low == high else f'{low} to {high}'} {noun}{'s' * (high > 1)}"


def _repeats(rows: Rows) -> str:
    most = max(row.repeats for mine in rows.values() for row in mine)
    return f"\nmedian and extremes of {most} runs" if most > 1 else ""
