"""The figure of conformal prediction: the coverage of each class, or of each part of the examples, and the size.

Shapes: N examples, C classes, B = 2 ends of an interval.
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnn_hvd.metrics import conformal as metrics
from bnn_hvd.plots import style
from bnn_hvd.run import records

COLOURS = {"thr": style.BLUE, "aps": style.ORANGE, "raps": style.GREEN, "cqr": style.BLUE, "scaled": style.ORANGE}
NAMES = {"thr": "THR", "aps": "APS", "raps": "RAPS", "cqr": "conformalised quantiles", "scaled": "scaled residuals"}
MAX_NAMED = 12  # classes; of more, only their numbers
MAX_CHARACTERS = 45  # of all their names; longer ones are turned
PARTS = "smallest quarter", "second", "third", "largest"


def conformal(run: Path) -> Figure:
    """Draw the coverage and the size of the sets of classes, or of the intervals of a real target."""
    arrays = style.read_npz(run / records.PREDICTIVE)
    report = records.read_table(run / records.UNCERTAINTY)["conformal"]
    is_sets = "conformal_thr_NC" in arrays
    targets = [0] if is_sets or "y_N" in arrays else range(len(arrays["target_names"]))
    title = "Conformal " + ("sets" if is_sets else "intervals")
    figure = style.figure(title, run, 11, 4.8 + 4.2 * (len(targets) - 1))
    panels = style.grid(figure, 2 * len(targets), 2)
    for d in targets:
        left, right = panels[2 * d : 2 * d + 2]
        _sets(left, right, arrays) if is_sets else _intervals(left, right, arrays, d)
        left.axhline(report["coverage"], color=style.BLACK, linewidth=1, linestyle="--", label="asked for")
        likely = "coverage of all examples, in 99 % of cases"
        left.axhspan(*report["likely_coverage"], color=style.GREY, alpha=0.2, lw=0, label=likely)
        left.set_ylim(None, 1.005)
    pairs = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in panels]
    handles = {label: handle for some in pairs for handle, label in some}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)
    return figure


def _sets(left: Axes, right: Axes, arrays: dict[str, np.ndarray]) -> None:
    """Draw the coverage of each class, and how many examples have sets of which size."""
    scored_N, names = arrays["conformal_scored_N"], arrays["class_names"].tolist()
    for place, score in enumerate(metrics.CLASS_SCORES):
        sets_NC = arrays[f"conformal_{score}_NC"][scored_N]
        found = metrics.sets_summary(sets_NC, arrays["labels_N"][scored_N])
        offset = 0.22 * (place - 1)
        label = f"{NAMES[score]}: coverage {found['coverage']:.3f}, mean size {found['mean_size']:.2f}"
        left.plot(np.arange(len(names)) + offset, found["coverage_by_class"], "o", markersize=5, color=COLOURS[score])
        share = np.bincount(sets_NC.sum(1)) / len(sets_NC)
        right.bar(np.arange(len(share)) + offset, share, 0.2, color=COLOURS[score], label=label)
    left.set(title="coverage of the examples of each class", xlabel="class", ylabel="fraction of sets with the label")
    if len(names) <= MAX_NAMED:
        turned: Any = {"rotation": 30, "ha": "right"} if sum(map(len, names)) > MAX_CHARACTERS else {}
        left.set_xticks(range(len(names)), names, **turned)
    right.set(title="size of the sets", xlabel="classes in the set", ylabel="fraction of examples")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))


def _intervals(left: Axes, right: Axes, arrays: dict[str, np.ndarray], d: int) -> None:
    """Draw the coverage of four parts of the examples, and the width of the intervals, of the d-th target."""
    scored_N, one = arrays["conformal_scored_N"], "y_N" in arrays
    y_N = arrays["y_N"][scored_N] if one else arrays["y_ND"][scored_N, d]
    std_N = arrays["total_std_N"][scored_N] if one else arrays["total_std_ND"][scored_N, d]
    target = "" if one else str(arrays["target_names"][d])
    for place, score in enumerate(("cqr", "scaled")):
        intervals_NB = arrays[f"conformal_{score}{'' if one else '_' + target}_NB"][scored_N]
        found = metrics.intervals_summary(intervals_NB, y_N, std_N)
        parts = found["coverage_by_std_quarter"]
        label = f"{NAMES[score]}: coverage {found['coverage']:.3f}, mean width {found['mean_width']:.3g}"
        label = label if one else f"{target}, {label}"
        at = np.arange(len(parts)) + 0.2 * (place - 0.5)
        left.plot(at, parts, "o", markersize=6, color=COLOURS[score], label=label)
        right.plot(std_N, np.ptp(intervals_NB, axis=1), "o", markersize=3, alpha=0.6, color=COLOURS[score])
    of_target = "" if one else f"{target}: "
    left.set(title=f"{of_target}coverage of four equal parts", ylabel="fraction of intervals with the target")
    left.set_xticks(range(len(PARTS)), PARTS)
    left.set_xlabel("predicted standard deviation")
    right.set(title=f"{of_target}width of the intervals", xlabel="predicted standard deviation", ylabel="width")
    right.set_ylim(bottom=0)
