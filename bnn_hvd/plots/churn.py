"""Figures of a churn study, from its files: churn.json (a row per cell), curves.json, examples.npz.

Solid lines are of runs without determinism, dashed lines of runs with it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bnn_hvd.plots import style
from bnn_hvd.run import records

Row = dict[str, Any]
COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION, style.SKY, style.BLACK, style.GREY)
MARKERS = "osD^vXP*h"  # two more than colours, so that 63 regimes look different
MAX_CLASSES = 20
TOPS = {"accuracy": "top-1", "top5_accuracy": "top-5"}
COLUMNS = 6  # of examples


def read(study: Path) -> list[Row]:
    return records.read_json(study / records.CHURN)


def churn(study: Path) -> Figure:
    """Draw churn over the learning rate: a panel per method, a line per regime."""
    rows = read(study)
    methods = _unique(rows, "method")
    figure = style.figure("Churn", study, 1.5 + 4.6 * len(methods), 4.6)
    for axes, method in zip(style.grid(figure, len(methods), len(methods)), methods, strict=True):
        for i, regime in enumerate(_unique(rows, "regime")):
            for mode in (False, True):
                mine = _sorted(rows, method=method, regime=regime, deterministic=mode)
                _line(axes, i, mode, [row["learning_rate"] for row in mine], [row["churn"] for row in mine])
        rates = _unique(rows, "learning_rate")
        axes.set(title=method, xlabel="learning rate", ylabel="fraction of differing test labels")
        axes.set_xscale("log" if min(rates) > 0 else "linear")
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.minorticks_off()
        axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])  # a line at 0 is visible above the axis
    _legend(figure, rows)
    return figure


def determinism(study: Path) -> Figure:
    """Draw the cost of determinism: the ratio of the step times with and without it, per pair of runs and median."""
    rows = [row for row in read(study) if row["step_time_ratios"]]
    names = [f"{row['method']}, {row['regime']}, {row['learning_rate']:g}" for row in rows]
    figure = style.figure("Cost of determinism", study, 7.5, 1.8 + 0.35 * len(rows))
    axes = figure.add_subplot()
    axes.axvline(1, color=style.GREY, linestyle=":")
    for i, row in enumerate(rows):
        axes.plot(row["step_time_ratios"], [i] * len(row["step_time_ratios"]), "o", color=style.SKY)
        axes.plot(row["step_time_ratio"], i, "D", color=style.BLUE)
    axes.set(
        yticks=range(len(rows)),
        yticklabels=names,
        xlabel="step time with determinism / without",
        ylim=(-0.6, len(rows) - 0.4),
    )
    axes.invert_yaxis()
    marks = [Line2D([], [], color=c, marker=m, linestyle="") for c, m in ((style.SKY, "o"), (style.BLUE, "D"))]
    figure.legend(marks, ["a pair of runs", "median"], loc="outside lower center", ncols=2)
    return figure


def classes(study: Path) -> Figure:
    """Draw each class's churn, and its spread of accuracy over the replicas: at the first method and learning rate."""
    return _bars(study, "classes", "Churn by class")


def groups(study: Path) -> Figure:
    """Draw the churn and the spread of accuracy of each of the user's groups, as `classes` does."""
    return _bars(study, "groups", "Churn by group")


def _bars(study: Path, key: str, title: str) -> Figure:
    rows = _first_of_each_regime(read(study))
    names = most_churned(rows, key)
    few = f"{key}: the {MAX_CLASSES} with the most churn" if len(names) == MAX_CLASSES else key
    figure = style.figure(title, study, max(7.5, 0.55 * len(names) + 2), 6.2)
    for axes, (measure, label) in zip(
        style.grid(figure, 2, 1), (("churn", "churn"), ("accuracy_spread", "spread of accuracy")), strict=True
    ):
        width = 0.8 / len(rows)
        for i, row in enumerate(rows):
            found = {part["group"]: part[measure] for part in row[key]}
            left = np.arange(len(names)) + (i - (len(rows) - 1) / 2) * width
            axes.bar(
                left,
                [found.get(name, 0) for name in names],
                0.94 * width,
                color=_colour(i),
                label=row["regime"],
            )
        axes.set(ylabel=label, xticks=range(len(names)), xticklabels=names)
        axes.set_xlabel(few)
        axes.grid(visible=False, axis="x")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def most_churned(rows: Sequence[Row], key: str) -> list[Any]:
    """Return the classes or groups to draw, in their order: all, or of many those with the most churn of all rows."""
    churn: dict[Any, float] = {}
    for part in (part for row in rows for part in row[key]):
        churn[part["group"]] = churn.get(part["group"], 0.0) + part["churn"]
    most = sorted(churn, key=lambda name: -churn[name])[:MAX_CLASSES]
    return [name for name in churn if name in most]


def divergence(study: Path) -> Figure:
    """Draw the mean L2 distance between the weights of two replicas over the steps: a panel per learning rate."""
    rows = read(study)
    rates = _unique(rows, "learning_rate")
    figure = style.figure("Distance of the weights", study, 1 + 4.6 * len(rates), 4.6)
    method = rows[0]["method"]
    for axes, rate in zip(style.grid(figure, len(rates), len(rates)), rates, strict=True):
        for i, regime in enumerate(_unique(rows, "regime")):
            for row in _select(rows, method=method, regime=regime, learning_rate=rate):
                _line(axes, i, row["deterministic"], row["weights"]["steps"], row["weights"]["distance"], marker=".")
        axes.set(title=f"{method}, learning rate {rate:g}", xlabel="step", ylabel="L2 distance, mean over pairs")
        axes.set_yscale("symlog", linthresh=1e-6)
    _legend(figure, rows)
    return figure


def accuracies(study: Path) -> Figure:
    """Draw top-1 (and top-5) accuracy on the test part over the epochs: a line per replica.

    There is a column of panels per method and learning rate. The lines of equal replicas lie on each other.
    """
    curves, rows = records.read_json(study / records.CURVES), read(study)
    keys = [key for key in TOPS if any(key in run for runs in curves for run in runs)]
    settings = list(dict.fromkeys((row["method"], row["learning_rate"]) for row in rows))
    figure = style.figure("Accuracy of every replica", study, 1.5 + 4.2 * len(settings), 1.2 + 3.4 * len(keys))
    panels = [(key, setting) for key in keys for setting in settings]
    order = _unique(rows, "regime")
    for axes, (key, setting) in zip(style.grid(figure, len(panels), len(settings)), panels, strict=True):
        for row, runs in zip(rows, curves, strict=True):
            if (row["method"], row["learning_rate"]) == setting:
                for run in (run for run in runs if key in run):
                    _line(axes, order.index(row["regime"]), row["deterministic"], run["epoch"], run[key], thin=True)
        method, rate = setting
        axes.set(title=f"{method}, learning rate {rate:g}", xlabel="epoch", ylabel=f"{TOPS[key]} accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    _legend(figure, rows)
    return figure


def examples(study: Path) -> Figure:
    """Draw the most divergent test examples of one cell, each with its true label and the labels of the replicas."""
    found = style.read_npz(study / records.CHURN_EXAMPLES)
    x_EHWC, truth_E, labels_KE = found["x_EHWC"], found["truth_E"], found["labels_KE"]
    names = found["class_names"]
    rows = -(-len(x_EHWC) // COLUMNS)
    figure = style.figure(f"Most divergent examples, {found['cell']}", study, 1.75 * COLUMNS, 0.9 + 2.2 * rows)
    for axes, x, truth, labels_K in zip(
        style.grid(figure, len(x_EHWC), COLUMNS), x_EHWC, truth_E, labels_KE.T, strict=True
    ):
        low, high = float(x.min()), float(x.max())
        shown = (x.astype(np.float64) - low) / max(high - low, 1e-12)
        axes.imshow(shown if shown.shape[-1] == 3 else shown[..., 0], cmap="gray_r")
        axes.set_title(f"is {names[truth]}\n" + ", ".join(str(names[label]) for label in labels_K), fontsize=8)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    return figure


def _legend(figure: Figure, rows: Sequence[Row]) -> None:
    lines = [
        Line2D([], [], color=_colour(i), marker=_marker(i), label=regime)
        for i, regime in enumerate(_unique(rows, "regime"))
    ]
    if any(row["deterministic"] for row in rows):
        lines.append(Line2D([], [], color=style.GREY, linestyle="--", label="deterministic"))
    figure.legend(handles=lines, loc="outside lower center", ncols=4)


def _line(
    axes: Axes, i: int, dashed: bool, x: Sequence[float], y: Sequence[float], marker: str = "", thin: bool = False
) -> None:
    """Draw a line of regime number i. Later regimes have smaller markers, so that equal lines all stay visible."""
    axes.plot(
        x, y, color=_colour(i), marker=marker or _marker(i), linestyle="--" if dashed else "-",
        markerfacecolor="none" if dashed else None, linewidth=0.8 if thin else None,
        markersize=(max(4, 11 - 2 * i) + 3 * dashed) * (0.6 if thin else 1),
    )  # fmt: skip


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _marker(i: int) -> str:
    return MARKERS[i % len(MARKERS)]


def _first_of_each_regime(rows: Sequence[Row]) -> list[Row]:
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["regime"], row)
    return list(first.values())


def _unique(rows: Sequence[Row], key: str) -> list:
    return list(dict.fromkeys(row[key] for row in rows))


def _select(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _sorted(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    return sorted(_select(rows, **wanted), key=lambda row: row["learning_rate"])


FIGURES: dict[str, Callable[[Path], Figure]] = {
    "churn": churn, "determinism": determinism, "classes": classes, "groups": groups, "divergence": divergence,
    "accuracies": accuracies, "examples": examples,
}  # fmt: skip
