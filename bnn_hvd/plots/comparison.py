"""Figures of `compare`: scores with standard errors, and the NLL against the cost. They read compare.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn_hvd.plots import style

COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION, style.SKY, style.BLACK)  # of the networks, in turn
COSTS = {"train_s": ("training", "s"), "prediction_ms": ("predicting 1,000 examples", "ms")}

Row = dict[str, Any]


def scores(title: str, rows: Sequence[Row], panels: Mapping[str, str]) -> Figure:
    """Draw a panel per score of one data set: a line per method, a colour per network, with standard errors.

    panels: the heading of each score, by its name in the rows.
    """
    shown = [name for name in panels if any(name in row["scores"] for row in rows)]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = _figure(title, 0.8 + 2.6 * len(shown), 1.5 + 0.36 * len(methods))
    for number, (axes, name) in enumerate(zip(style.grid(figure, len(shown), len(shown)), shown, strict=True)):
        _panel(axes, rows, methods, name)
        axes.set(xlabel=panels[name])
        axes.tick_params(axis="x", labelrotation=30)
        if number:
            axes.set_yticklabels([])
    _legend(figure, rows)
    return figure


def cost(title: str, rows: Sequence[Row]) -> Figure:
    """Draw the NLL of one data set against the cost of training and of predicting, a point per method."""
    figure = _figure(title, 9.0, 4.2)
    relative = all(row["relative_cost"] for row in rows)
    for axes, (name, (what, unit)) in zip(style.grid(figure, len(COSTS), len(COSTS)), COSTS.items(), strict=True):
        found = [row["relative_cost" if relative else "cost"][name] for row in rows]
        for row, x, colour in zip(rows, found, _colours(rows), strict=True):
            nll = row["scores"]["nll"]
            axes.errorbar(x, nll["mean"], nll["standard_error"] or None, color=colour, marker="o", capsize=3)
            axes.annotate(row["method"], (x, nll["mean"]), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", xlabel=f"cost of {what} " + ("(point: 1)" if relative else f"({unit})"))
        axes.margins(x=0.2)
        style.log_axis(axes.xaxis, min(found), max(found))
    figure.axes[0].set_ylabel("negative log likelihood (nats)")
    _legend(figure, rows)
    return figure


def _panel(axes: Axes, rows: Sequence[Row], methods: Sequence[str], name: str) -> None:
    networks = _networks(rows)
    for row, colour in zip(rows, _colours(rows), strict=True):
        if name in row["scores"]:
            found = row["scores"][name]
            shift = 0.3 * (networks.index(row["network"]) - (len(networks) - 1) / 2) / len(networks)
            y = methods.index(row["method"]) + shift
            axes.plot(found["each"], [y] * len(found["each"]), color=colour, marker="|", linestyle="", alpha=0.4)
            axes.errorbar(found["mean"], y, xerr=found["standard_error"], color=colour, marker="o", capsize=3)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)


def _figure(title: str, width: float, height: float) -> Figure:
    empty = Figure(figsize=(width, height), layout="constrained")
    empty.suptitle(title)
    return empty


def _networks(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["network"] for row in rows))


def _colours(rows: Sequence[Row]) -> list[str]:
    networks = _networks(rows)
    return [COLOURS[networks.index(row["network"]) % len(COLOURS)] for row in rows]


def _legend(figure: Figure, rows: Sequence[Row]) -> None:
    networks = _networks(rows)
    if len(networks) > 1:
        axes = figure.axes[0]
        handles = [axes.plot([], [], marker="o", color=COLOURS[i % len(COLOURS)])[0] for i in range(len(networks))]
        figure.legend(handles, networks, loc="outside lower center", ncols=len(networks))
