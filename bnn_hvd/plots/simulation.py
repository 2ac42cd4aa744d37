"""Figure of `scale --simulate`: where node hours go, and how often to write a checkpoint, by number of ranks.

Simulations are those of `bnn_hvd.studies.scaling.simulate`, of one model, in ascending order of ranks.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn_hvd.plots import style


def simulation(run: Path, found: Sequence[Any], mode: str) -> Figure:
    """Draw the shares of the node hours, the hours of the run, and the intervals between checkpoints."""
    ended = [one for one in found if math.isfinite(one.hours)]
    figure = style.figure("Simulation", run, 11, 4.2)
    panels = style.grid(figure, 3, 3)
    _shares(panels[0], ended)
    panels[0].set_title(f"{found[0].model}, {mode} scaling: node hours", loc="left")
    ranks = [one.ranks for one in ended]
    panels[1].plot(ranks, [one.hours for one in ended], color=style.BLUE, marker="o", label="simulated")
    ideal = [ended[0].hours * ended[0].ranks / one.ranks for one in ended]
    panels[1].plot(ranks, ideal, color=style.GREY, linestyle=":", label="ideal")
    panels[1].set(xscale="log", yscale="log", xlabel="ranks", ylabel="hours")
    panels[1].set_title("time to the end, or to the accuracy", loc="left")
    panels[1].legend()
    lines = (
        ("daly_s", "Daly", style.ORANGE, "-"), ("best_s", "simulated", style.BLUE, "--"),
        ("young_s", "Young", style.BLACK, ":"),
    )  # fmt: skip
    for name, label, colour, line in lines:
        panels[2].plot(ranks, [getattr(one, name) / 60 for one in ended], line, color=colour, label=label)
    panels[2].set(xscale="log", yscale="log", xlabel="ranks", ylabel="minutes of steps")
    panels[2].set_title("best interval between checkpoints", loc="left")
    panels[2].legend()
    return figure


def _shares(axes: Axes, found: Sequence[Any]) -> None:
    """Stack the shares of the node hours."""
    total = np.array([one.node_hours for one in found])
    per_step_ms = np.array([one.nodes * one.steps / 3.6e6 for one in found])  # node hours of a millisecond of all steps
    parts = {
        "computation": per_step_ms * [one.compute_ms for one in found],
        "waiting for the slowest": per_step_ms * [one.waiting_ms for one in found],
        "all-reduce": per_step_ms * [one.communication_ms for one in found],
        "checkpoints": np.array([one.checkpoint_node_hours for one in found]),
        "failures": np.array([one.lost_node_hours for one in found]),
    }
    colours = (style.BLUE, style.SKY, style.GREEN, style.ORANGE, style.VERMILION)
    axes.stackplot(
        [one.ranks for one in found], [part / total for part in parts.values()], labels=list(parts), colors=colours
    )
    axes.set(xscale="log", xlabel="ranks", ylabel="share of the node hours", ylim=(0, 1))
    axes.legend(loc="lower left", frameon=True, facecolor="white", framealpha=0.85)
