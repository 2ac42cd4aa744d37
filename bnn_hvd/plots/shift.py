"""The figure of corrupted images: the scores against the level of each corruption."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn_hvd.plots import style
from bnn_hvd.run import records

COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION, style.SKY, style.BLACK, style.GREY, "#CC79A7")
MARKERS = "osD^vP*X"
PANELS = {
    "accuracy": "accuracy", "nll": "NLL [nats]", "ece": "ECE", "coverage_raps": "coverage of conformal sets (RAPS)",
}  # fmt: skip


def corrupted(run: Path) -> Figure:
    """Draw accuracy, NLL, ECE and the coverage of conformal sets, if there are, against the level; level 0 is clean."""
    found = style.read_npz(run / records.PREDICTIVE)
    rows = {name.removeprefix("corrupted_").removesuffix("_K"): found[name] for name in found if "corrupted_" in name}
    panels = {key: label for key, label in PANELS.items() if key in rows}
    figure = style.figure("Corrupted images", run, 5 * min(2, len(panels)), 3.9 * -(-len(panels) // 2) + 0.8)
    for axes, (key, label) in zip(style.grid(figure, len(panels), 2), panels.items(), strict=True):
        _panel(axes, rows, key)
        axes.set(xlabel="level of the corruption", ylabel=label)
        axes.set_xticks(range(int(rows["level"].max()) + 1))
    if "coverage_raps" in panels:
        asked = records.read_table(run / records.UNCERTAINTY)["conformal"]["coverage"]
        axes.axhline(asked, color=style.BLACK, linewidth=1, linestyle="--", label="coverage asked for")
    handles = {
        label: handle for one in figure.axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4)
    return figure


def _panel(axes: Axes, rows: dict[str, np.ndarray], key: str) -> None:
    clean = rows[key][rows["level"] == 0]
    for name, colour, marker in zip(dict.fromkeys(rows["name"][1:].tolist()), COLOURS, MARKERS, strict=False):
        mine = rows["name"] == name
        order = np.argsort(rows["level"][mine])
        levels, values = rows["level"][mine][order], rows[key][mine][order]
        axes.plot([0, *levels], [*clean, *values], color=colour, marker=marker, markersize=5, label=name)
