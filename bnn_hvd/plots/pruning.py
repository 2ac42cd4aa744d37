"""The figure of `prune`: scores over the fraction of the weights that are pruned."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn_hvd.plots import style
from bnn_hvd.run import records

PANELS = {
    "accuracy": "accuracy", "rmse": "root mean squared error", "nll": "negative log likelihood (nats)",
    "ece": "expected calibration error",
}  # fmt: skip
LINES = {"snr": (style.BLUE, "o", "signal to noise |loc| / scale"), "magnitude": (style.ORANGE, "s", "magnitude |loc|")}
SCOPES = {"layer": "of each kernel", "global": "of all kernels together"}


def curves(run: Path) -> Figure:
    """Draw a panel per score, with a line per criterion, and a dotted line for the network before pruning."""
    rows = records.read_json(run / records.PRUNING)
    shown = [name for name in PANELS if name in rows[0]]
    figure = style.figure("Pruning", run, 3.9 * len(shown), 3.9)
    for axes, name in zip(style.grid(figure, len(shown), len(shown)), shown, strict=True):
        _panel(axes, name, rows)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, name: str, rows: list[dict[str, Any]]) -> None:
    axes.axhline(rows[0][name], color=style.GREY, linestyle=":", label="nothing pruned")
    for criterion, (colour, marker, label) in LINES.items():
        mine = [row for row in rows if row["criterion"] == criterion]
        if mine:
            x, y = [row["fraction"] for row in mine], [row[name] for row in mine]
            axes.plot(x, y, color=colour, marker=marker, label=label)
    axes.set(xlabel=f"fraction pruned {SCOPES[rows[0]['scope']]}", ylabel=PANELS[name], xlim=(-0.02, 1.02))
    if name in ("nll", "rmse"):
        axes.set_yscale("log")
