"""Figures of the chains of `hmc`. Legend: M chains, T trajectories."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from bnn_hvd.plots import style
from bnn_hvd.run import records

COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.SKY, style.BLACK)
PANELS = {
    "log_posterior": ("Log posterior", "nats"),
    "accuracy": ("Accuracy on the training part", "fraction correct"),
    "rmse": ("Root mean squared error on the training part", "units of the target"),
    "standardized_rmse": ("Root mean squared error on the training part", "standard deviations of the targets"),
    "step_size": ("Step size", "of the leapfrog"),
    "accept": ("Acceptance probability", "of a trajectory"),
}


def traces(run: Path) -> Figure:
    """Draw log posterior, accuracy, step size and acceptance probability of each chain over its trajectories.

    Burn-in is shaded, divergent trajectories are marked.
    """
    arrays = style.read_npz(run / records.CHAINS)
    panels = [name for name in PANELS if f"{name}_MT" in arrays]
    figure = style.figure("Chains", run, 11, 1 + 2.9 * ((len(panels) + 1) // 2))
    for axes, name in zip(style.grid(figure, len(panels), 2), panels, strict=True):
        _trace(axes, name, arrays)
    handles = axes.get_legend_handles_labels()[0]
    if arrays["divergent_MT"].any():
        handles.append(Line2D([], [], color=style.BLACK, marker="x", markersize=5, linestyle="", label="divergent"))
    figure.legend(handles=handles, loc="outside lower center", ncols=8)
    return figure


def _trace(axes: Axes, name: str, arrays: dict[str, np.ndarray]) -> None:
    values_MT, burn_in, first = arrays[f"{name}_MT"], int(arrays["burn_in"]), int(arrays["first"])
    time_T = first + 1 + np.arange(values_MT.shape[1])
    if burn_in:
        axes.axvspan(time_T[0], first + burn_in, color=style.ORANGE, alpha=0.15, lw=0, label="burn-in")
    for chain, values_T in enumerate(values_MT):
        colour = COLOURS[chain % len(COLOURS)]
        axes.plot(time_T, values_T, color=colour, linewidth=1.0, alpha=0.85, label=f"chain {chain}")
        divergent_T = arrays["divergent_MT"][chain] > 0
        if divergent_T.any():
            axes.plot(time_T[divergent_T], values_T[divergent_T], "x", color=style.BLACK, markersize=5)
    title, unit = PANELS[name]
    axes.set(title=title, xlabel="trajectory", ylabel=unit)
    if name == "step_size":
        axes.set_yscale("log")
    elif name == "accept":
        axes.set_ylim(-0.03, 1.03)
    else:
        _focus(axes, values_MT, burn_in)


def _focus(axes: Axes, values_MT: np.ndarray, burn_in: int) -> None:
    """Fit the y axis to the values after burn-in: those before are often far away."""
    late_MT = values_MT[:, burn_in:] if burn_in < values_MT.shape[1] else values_MT
    low, high = float(late_MT.min()), float(late_MT.max())
    margin = 0.3 * (high - low) or 1e-3
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
