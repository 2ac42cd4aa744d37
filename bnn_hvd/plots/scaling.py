"""Figures of a scaling study: training time by number of nodes, and speed-up with its prediction.

Rows and predictions are those of `bnn_hvd.studies.scaling`, by model, in ascending order of ranks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bnn_hvd.plots import style

Rows = dict[str, list[Any]]
COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION, style.SKY, style.GREY)
MARKERS = "osD^vX"


def training_time(run: Path, rows: Rows, caption: str) -> Figure:
    """Draw a bar of the training time, without compilation and evaluation, per number of nodes (or ranks) and model."""
    unit, counts = unit_of(rows), _counts(rows)
    figure = style.figure("Training time", run, max(5.5, 1.2 + 0.9 * len(counts) * len(rows)), 4.4)
    axes = figure.add_subplot()
    width = 0.8 / len(rows)
    for i, (model, mine) in enumerate(rows.items()):
        left = [counts.index(units(row, unit)) + (i - (len(rows) - 1) / 2) * width for row in mine]
        seconds, low, high = np.array([(r.train_wall_s, r.train_wall_s_min, r.train_wall_s_max) for r in mine]).T
        axes.bar(left, seconds, 0.94 * width, color=COLOURS[i % len(COLOURS)], label=model)
        if any(row.repeats > 1 for row in mine):
            axes.errorbar(left, seconds, [seconds - low, high - seconds], fmt="none", ecolor=style.BLACK, capsize=3)
        for x, top, value in zip(left, high, seconds, strict=True):
            axes.annotate(f"{value:.3g} s", (x, top), (0, 3), textcoords="offset points", ha="center", weight="bold")
    axes.margins(y=0.1)
    axes.set(xticks=range(len(counts)), xticklabels=counts, xlabel=_axis_label(rows, unit), ylabel="training time (s)")
    axes.grid(visible=False, axis="x")
    axes.set_title(caption + _repeats(rows), loc="left")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def speed_up(run: Path, rows: Rows, predictions: Rows, caption: str, link: str) -> Figure:
    """Draw the speed-up over nodes (or ranks); with predictions, a second panel for the given interconnect."""
    figure = style.figure("Speed-up", run, 10 if predictions else 5.5, 4.9)
    panels = style.grid(figure, 2 if predictions else 1, 2 if predictions else 1)
    _measured(panels[0], rows)
    panels[0].set_title(f"measured: {caption}", loc="left", wrap=True)
    if predictions:
        _predicted(panels[1], rows, predictions)
        panels[1].set_title("measured and predicted", loc="left")
        dashed = Line2D([], [], color=style.GREY, linestyle="--", label=assumptions(rows, predictions, link))
        figure.legend(handles=[dashed], loc="outside lower center")
    return figure


def particles(run: Path, rows: Sequence[Any], caption: str) -> Figure:
    """Draw seconds per epoch over the number of particles: a line per number of ranks."""
    figure = style.figure("Particles", run, 6.4, 4.4)
    axes = figure.add_subplot()
    counts = sorted({row.particles for row in rows})
    for i, ranks in enumerate(sorted({row.ranks for row in rows})):
        mine = [row for row in rows if row.ranks == ranks]
        x, y = [row.particles for row in mine], [row.epoch_s for row in mine]
        _line(axes, i, x, y, f"{ranks} rank{'s' * (ranks > 1)}")
        if any(row.repeats > 1 for row in mine):
            axes.vlines(x, [row.epoch_s_min for row in mine], [row.epoch_s_max for row in mine], color=COLOURS[i])
        axes.annotate(f"{y[-1]:.3g} s", (x[-1], y[-1]), (6, 4), textcoords="offset points")
    first = rows[0]
    proportional = [first.epoch_s * count / first.particles for count in counts]
    axes.plot(counts, proportional, color=style.GREY, linestyle=":", label="one particle after the other")
    axes.set(xlabel="particles", ylabel="seconds per epoch", xticks=counts, ylim=(0, None))
    axes.margins(x=0.1)
    axes.set_title(
        caption + (f"\nmedian and extremes of {first.repeats} runs" if first.repeats > 1 else ""), loc="left", wrap=True
    )
    axes.legend(loc="upper left")
    return figure


def _measured(axes: Axes, rows: Rows) -> None:
    unit, counts = unit_of(rows), _counts(rows)
    ends = np.array([counts[0], counts[-1]])
    axes.plot(ends, ends / counts[0], color=style.GREY, linestyle=":", label="ideal")
    for i, (model, mine) in enumerate(rows.items()):
        efficiency = f"{model}: {mine[-1].efficiency:.0%} of ideal on {units(mine[-1], unit)}"
        _line(axes, i, [units(row, unit) for row in mine], [row.speed_up for row in mine], label=efficiency)
    if counts[-1] > 8 * counts[0]:
        _log_axes(axes, counts[-1], counts[-1] / counts[0])
    else:
        axes.set(xticks=counts, yticks=np.array(counts) / counts[0], ylim=(0, None))
    axes.set(xlabel=_axis_label(rows, unit), ylabel=f"speed-up in examples/s, {_relative_to(rows)}")
    axes.legend(loc="lower right" if all(mine[-1].efficiency > 0.5 for mine in rows.values()) else "upper left")


def _predicted(axes: Axes, rows: Rows, predictions: Rows) -> None:
    """Draw the measured points, and the predictions as dashed lines, on logarithmic axes."""
    unit = unit_of(rows)
    first = _counts(rows)[0]
    last = max(prediction.nodes for mine in predictions.values() for prediction in mine)
    axes.plot([first, last], [1, last / first], color=style.GREY, linestyle=":", label="ideal")
    for i, (model, mine) in enumerate(rows.items()):
        _line(axes, i, [units(row, unit) for row in mine], [row.speed_up for row in mine])
        ahead = predictions[model]
        best = max(ahead, key=lambda prediction: prediction.speed_up)
        label = f"{model}: {best.speed_up:.3g} times on {best.nodes:,} nodes"
        label += "" if best.nodes == ahead[-1].nodes else ", then falling"
        nodes, values = [each.nodes for each in ahead], [each.speed_up for each in ahead]
        axes.plot(nodes, values, color=COLOURS[i % len(COLOURS)], linestyle="--", label=label)
    _log_axes(axes, last, last / first)
    axes.set(xlabel="nodes", ylabel=f"speed-up, {_relative_to(rows)}")
    axes.legend(loc="upper left", title="dashed: predicted, with its maximum", alignment="left")


def _log_axes(axes: Axes, most: float, fastest: float) -> None:
    """Make both axes logarithmic, with ticks at powers of two."""
    axes.set(xscale="log", yscale="log")
    for axis, top in ((axes.xaxis, most), (axes.yaxis, fastest)):
        axis.set_major_locator(FixedLocator(_powers_of_two(top)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def assumptions(rows: Rows, predictions: Rows, link: str) -> str:
    """Return the assumptions of the dashed lines, for the legend."""
    first, measured = next(iter(predictions.values()))[0], next(iter(rows.values()))
    per_node, strong = max(1, first.ranks // first.nodes), len({row.global_batch_size for row in measured}) == 1
    batch = f"global batch {measured[0].global_batch_size:,}" if strong else f"batch {measured[0].batch_size} per rank"
    return (
        f"assumes: all-reduce ({first.model}: {1e-6 * measured[-1].reduced_bytes_per_step:.2g} MB), {link}; {batch};\n"
        f"{_one_or_range([per_node], 'rank')} per node; computation from the measured steps; "
        f"waiting as on {_one_or_range([first.ranks], 'rank')}"
    )


def _line(axes: Axes, i: int, x: Sequence[float], y: Sequence[float], label: str | None = None) -> None:
    axes.plot(x, y, color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=7, label=label)


def _powers_of_two(top: float) -> list[int]:
    """Return the powers of two up to `top`; if there are many, every second or third of them."""
    exponent = max(1, int(np.log2(top)))
    return [2**k for k in range(0, exponent + 1, 1 + exponent // 7)]


def unit_of(rows: Rows) -> str:
    """Return the unit of the x axis: nodes, or ranks if all runs had the same number of nodes."""
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


def _relative_to(rows: Rows) -> str:
    return f"relative to {_one_or_range(_counts(rows)[:1], unit_of(rows).removesuffix('s'))}"


def _repeats(rows: Rows) -> str:
    most = max(row.repeats for mine in rows.values() for row in mine)
    return f"\nmedian and extremes of {most} runs" if most > 1 else ""
