"""Figures of selective prediction, the error over the fraction of examples that is kept, and of detecting other data.

Shapes: N examples, M out-of-distribution examples.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn_hvd.metrics import detection, selective
from bnn_hvd.metrics.classification import mean_over_labels
from bnn_hvd.plots import style
from bnn_hvd.run import records

LOOK = {  # of an uncertainty: its name, colour and line
    "max_prob": ("largest probability", style.BLUE, "-"), "entropy": ("entropy (total)", style.VERMILION, "--"),
    "mutual_information": ("mutual information (epistemic)", style.GREEN, "-."),
    "total": ("total", style.VERMILION, "--"), "epistemic": ("epistemic", style.GREEN, "-."),
}  # fmt: skip
SHOWN = {"auroc": "AUROC", "fpr95": "FPR95", "aupr": "AUPR"}
Shown = Callable[[np.ndarray], np.ndarray]


def risk_coverage(run: Path) -> Figure:
    """Draw the error rate of the examples that are kept when the most uncertain ones are left out."""
    names = ("probs_NC", "predictive_entropy_N", "mutual_information_N")
    found = style.read_npz(run / records.PREDICTIVE, *names, "labels_N")
    known = {name: values[found["labels_N"] >= 0] for name, values in found.items()}
    wrong_N = (known["probs_NC"].argmax(1) != known["labels_N"]).astype(float)
    figure = style.figure("Selective prediction", run, 7.5, 5.6)
    axes = figure.subplots()
    _curves(axes, _of_classes(known), wrong_N, lambda risk: risk)
    axes.axhline(selective.RISK, color=style.GREY, linewidth=1, linestyle=":", label=f"risk {selective.RISK:g}")
    axes.set(xlabel="coverage: fraction of the examples that is kept, the least uncertain ones")
    axes.set(ylabel="risk: fraction of these that is wrong", title="smaller is better; AURC is the area below")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def rmse_over_coverage(run: Path) -> Figure:
    """Draw the RMSE of the examples that are kept when the most uncertain ones are left out."""
    found = style.read_npz(run / records.PREDICTIVE, "mean_N", "y_N", "total_std_N", "epistemic_std_N")
    known = {name: values[~np.isnan(found["y_N"])] for name, values in found.items()}
    figure = style.figure("Selective prediction", run, 7.5, 5.6)
    axes = figure.subplots()
    scores = {part: known[f"{part}_std_N"] for part in ("total", "epistemic")}
    _curves(axes, scores, (known["mean_N"] - known["y_N"]) ** 2, np.sqrt)
    axes.set(xlabel="coverage: fraction of the examples that is kept, the least uncertain ones", ylabel="RMSE of these")
    axes.set_title("smaller is better; AURC is of the squared error")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def out_of_distribution(run: Path) -> Figure:
    """Draw the ROC curves of the uncertainties as detectors of out-of-distribution data, and say the other measures."""
    parts = ("predictive_entropy", "mutual_information")
    optional = ("probs_NC", "ood_max_prob_M", *(f"{part}_N" for part in parts), *(f"ood_{part}_M" for part in parts))
    found = style.read_npz(run / records.PREDICTIVE, optional=optional)
    inside = {"entropy": found["predictive_entropy_N"], "mutual_information": found["mutual_information_N"]}
    outside = {"entropy": found["ood_predictive_entropy_M"], "mutual_information": found["ood_mutual_information_M"]}
    if "ood_max_prob_M" in found:
        inside["max_prob"], outside["max_prob"] = 1 - found["probs_NC"].max(-1), 1 - found["ood_max_prob_M"]
    inside, outside = ({name: mean_over_labels(values) for name, values in part.items()} for part in (inside, outside))
    measured = detection.measures(inside, outside)
    figure = style.figure("Out-of-distribution data", run, 7.0, 7.4)
    axes = figure.subplots()
    for name in sorted(inside):
        if f"auroc_{name}" not in measured:
            continue
        flagged_in, flagged_out = detection.roc(inside[name], outside[name])
        text, colour, line = LOOK[name]
        numbers = " ".join(f"{label} {measured[f'{key}_{name}']:.3f}" for key, label in SHOWN.items())
        axes.plot(flagged_in, flagged_out, color=colour, linestyle=line, label=f"{text}: {numbers}")
    axes.plot((0, 1), (0, 1), color=style.GREY, linestyle=":", linewidth=1, label="guessing")
    axes.set(xlabel="fraction of the test part that is flagged", ylabel="fraction of the other data that is flagged")
    axes.set(aspect="equal", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), title="flagged: more uncertain than a threshold")
    figure.legend(loc="outside lower center")
    return figure


def _of_classes(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "max_prob": 1 - found["probs_NC"].max(1), "entropy": found["predictive_entropy_N"],
        "mutual_information": found["mutual_information_N"],
    }  # fmt: skip


def _curves(axes: Axes, scores: dict[str, np.ndarray], loss_N: np.ndarray, shown: Shown) -> None:
    """Draw the risks over the coverage for each uncertainty, for the best order and for a random one."""
    coverage_N = np.arange(1, len(loss_N) + 1) / len(loss_N)
    for name, values_N in scores.items():
        if values_N.any():
            text, colour, line = LOOK[name]
            risk_N = selective.risks(values_N, loss_N)
            axes.plot(
                coverage_N, shown(risk_N), color=colour, linestyle=line, label=f"{text}: AURC {risk_N.mean():.4g}"
            )
    best_N = selective.risks(loss_N, loss_N)
    axes.plot(coverage_N, shown(best_N), color=style.BLACK, linewidth=1, label=f"best order: AURC {best_N.mean():.4g}")
    axes.axhline(float(shown(loss_N.mean())), color=style.GREY, linewidth=1, linestyle="--", label="random order")
    axes.set(xlim=(0, 1), ylim=(0, None))
