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
    figure = style.figure("Conformal " + ("sets" if is_sets else "intervals"), run, 11, 4.8)
    left, right = style.grid(figure, 2, 2)
    (_sets if is_sets else _intervals)(left, right, arrays)
    left.axhline(report["coverage"], color=style.BLACK, linewidth=1, linestyle="--", label="asked for")
    likely = "coverage of all examples, in 99 % of cases"
    left.axhspan(*report["likely_coverage"], color=style.GREY, alpha=0.2, lw=0, label=likely)
    left.set_ylim(None, 1.005)
    figure.legend(loc="outside lower center", ncols=2)
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


def _intervals(left: Axes, right: Axes, arrays: dict[str, np.ndarray]) -> None:
    """Draw the coverage of four parts of the examples, and the width of the intervals."""
    scored_N = arrays["conformal_scored_N"]
    y_N, std_N = arrays["y_N"][scored_N], arrays["total_std_N"][scored_N]
    for place, score in enumerate(("cqr", "scaled")):
        intervals_NB = arrays[f"conformal_{score}_NB"][scored_N]
        found = metrics.intervals_summary(intervals_NB, y_N, std_N)
        parts = found["coverage_by_std_quarter"]
        label = f"{NAMES[score]}: coverage {found['coverage']:.3f}, mean width {found['mean_width']:.3g}"
        at = np.arange(len(parts)) + 0.2 * (place - 0.5)
        left.plot(at, parts, "o", markersize=6, color=COLOURS[score], label=label)
        right.plot(std_N, np.ptp(intervals_NB, axis=1), "o", markersize=3, alpha=0.6, color=COLOURS[score])
    left.set(title="coverage of four equal parts of the examples", ylabel="fraction of intervals with the target")
    left.set_xticks(range(len(PARTS)), PARTS)
    left.set_xlabel("predicted standard deviation")
    right.set(title="width of the intervals", xlabel="predicted standard deviation", ylabel="width")
    right.set_ylim(bottom=0)
