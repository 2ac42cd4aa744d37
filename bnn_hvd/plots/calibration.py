"""Figures of the whole test part: the reliability diagram, and histograms of the uncertainties.

Shapes: N test examples, M out-of-distribution examples, C classes, B bins.
"""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bnn_hvd.metrics import classification, detection
from bnn_hvd.plots import style
from bnn_hvd.run import records

NUM_BINS = 15  # of the reliability diagram and the ECE
MAX_HISTOGRAM_BINS = 40
HEADROOM = 1.35  # of the axis above the histograms, for the legend
SMALLEST = 1e-6  # nats; what is smaller is rounding of float32, and is drawn as this


def reliability(run: Path) -> Figure:
    """Draw accuracy over confidence with 95 % intervals, the number of examples in each bin, and the ECE."""
    more = ("calibrated_probs_NC", "calibration_part_N")
    arrays = style.read_npz(run / records.PREDICTIVE, "probs_NC", "labels_N", optional=more)
    known_N = arrays["labels_N"] >= 0  # where there is no label, it is -1
    unit = "labels" if known_N.ndim > 1 else "examples"  # of the former, examples have several
    probs_NC, labels_N = arrays["probs_NC"][known_N], arrays["labels_N"][known_N]
    bins = classification.reliability(probs_NC, labels_N, NUM_BINS)
    edges = np.linspace(0, 1, NUM_BINS + 1)
    figure = style.figure("Reliability", run, 6, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _accuracy_over_confidence(upper, bins)
    _calibrated(upper, arrays)
    upper.set_title(f"{_verdict(probs_NC, labels_N)}, {len(labels_N):,} {unit}")
    lower.stairs(bins.count_B, edges, baseline=0.5, fill=True, color=style.SKY)
    lower.set_yscale("log")
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
    lower.set(xlabel="confidence (largest mean probability)", ylabel=f"test {unit}", ylim=(0.5, None))
    lowest = edges[np.searchsorted(edges, 1 / probs_NC.shape[1], side="right") - 1]
    lower.set_xlim(lowest, 1)  # the largest of C probabilities is at least 1 / C
    handles = upper.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3 if len(handles[0]) <= 3 else 2)
    return figure


def _verdict(probs_NC: np.ndarray, labels_N: np.ndarray) -> str:
    scores, confidence = classification.summary(probs_NC, labels_N), float(probs_NC.max(axis=1).mean())
    side = "over" if confidence > scores["accuracy"] else "under"
    return (
        f"ECE {scores['ece']:.4f} ({NUM_BINS} bins); {side}confident by {abs(confidence - scores['accuracy']):.4f}\n"
        f"accuracy {scores['accuracy']:.4f}, mean confidence {confidence:.4f}"
    )


def _accuracy_over_confidence(axes: Axes, bins: classification.Reliability) -> None:
    filled = bins.count_B > 0
    confidence, accuracy, count = (array[filled] for array in bins)
    low, high = wilson(accuracy, count)
    axes.plot((0, 1), (0, 1), color=style.GREY, linestyle="--", linewidth=1.4, label="perfectly calibrated")
    axes.vlines(confidence, accuracy, confidence, color=style.ORANGE, linewidth=7, alpha=0.55, label="gap")
    axes.errorbar(
        confidence, accuracy, np.clip((accuracy - low, high - accuracy), 0, None), color=style.BLUE,
        marker="o", markersize=5, linewidth=1.4, capsize=3, label="accuracy, 95 % interval",
    )  # fmt: skip
    axes.set(ylabel="accuracy", ylim=(-0.02, 1.02))


def _calibrated(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    """Draw the same at the temperature that the run keeps, for the examples that it was not fitted to."""
    if "calibrated_probs_NC" not in arrays:
        return
    other_N = (arrays["labels_N"] >= 0) & ~arrays.get("calibration_part_N", False)
    probs_NC, labels_N = arrays["calibrated_probs_NC"][other_N], arrays["labels_N"][other_N]
    if not len(labels_N):
        return
    bins, error = classification.reliability(probs_NC, labels_N, NUM_BINS), classification.ece(probs_NC, labels_N)
    filled = bins.count_B > 0
    axes.plot(
        bins.confidence_B[filled], bins.accuracy_B[filled], color=style.GREEN, marker="s", markersize=4, linewidth=1.2,
        label=f"at the fitted temperature, other half: ECE {error:.4f}",
    )  # fmt: skip


def wilson(fraction: np.ndarray, count: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's (1927) interval of a fraction; it also holds for few examples, and for fractions of 0 and 1."""
    centre = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    return centre - half, centre + half


def uncertainty_histogram(run: Path) -> Figure:
    """Draw histograms of the total, aleatoric and epistemic uncertainty of the test part.

    With out-of-distribution data, also draw the total and the epistemic uncertainty of both parts over each other.
    """
    names = ("predictive_entropy", "expected_entropy", "mutual_information")
    arrays = style.read_npz(
        run / records.PREDICTIVE, *(f"{name}_N" for name in names), optional=tuple(f"ood_{name}_M" for name in names)
    )
    several = arrays["predictive_entropy_N"].ndim > 1  # of each example
    arrays = {name: values.reshape(-1) for name, values in arrays.items()}
    has_ood = "ood_predictive_entropy_M" in arrays
    figure = style.figure("Predictive uncertainty" + " of labels" * several, run, 12.5 if has_ood else 6.8, 4.6)
    panels = figure.subplots(1, 3 if has_ood else 1, squeeze=False)[0]
    parts = zip(("total", "aleatoric", "epistemic"), (arrays[f"{name}_N"] for name in names), strict=True)
    _histograms(panels[0], "Predicted examples", dict(parts), (style.BLACK, style.ORANGE, style.BLUE))
    for axes, name, title in zip(panels[1:], names[::2], ("Total", "Epistemic"), strict=False):
        _in_against_out(axes, title, arrays[f"{name}_N"], arrays[f"ood_{name}_M"])
    return figure


def _in_against_out(axes: Axes, title: str, scores_N: np.ndarray, ood_scores_M: np.ndarray) -> None:
    area = detection.auroc(scores_N, ood_scores_M)
    parts = {"in-distribution (test data)": scores_N, "out-of-distribution": ood_scores_M}
    _histograms(axes, f"{title}, in- against out-of-distribution", parts, (style.BLUE, style.VERMILION))
    axes.legend(loc="upper left", title=f"AUROC {area:.3f}", alignment="left", title_fontproperties={"weight": "bold"})


def _histograms(axes: Axes, title: str, parts: dict[str, np.ndarray], colours: tuple[str, ...]) -> None:
    """Draw histograms over each other, in bins of equal ratio: the parts differ by orders of magnitude."""
    some = {name: np.maximum(values, SMALLEST) for name, values in parts.items() if values.max() > SMALLEST}
    drawn = np.concatenate([*some.values(), [SMALLEST] * (not some)])
    num_bins = min(MAX_HISTOGRAM_BINS, *(style.rice(len(values)) for values in parts.values()))
    edges = np.geomspace(drawn.min(), max(1.001 * drawn.max(), 10 * drawn.min()), num_bins + 1)
    for (name, values), colour, line in zip(parts.items(), colours, ("-", "--", "-."), strict=False):
        if name not in some:  # of a point network, or of draws that all agree
            axes.plot([], [], color=colour, linestyle=line, label=f"{name}, 0 everywhere")
            continue
        fraction_B = np.histogram(some[name], edges)[0] / len(values)
        if len(parts) == 2:
            axes.stairs(fraction_B, edges, color=colour, alpha=0.18, fill=True)
        label = f"{name}, mean {values.mean():.3g}"
        axes.stairs(fraction_B, edges, color=colour, linestyle=line, linewidth=1.8, label=label)
    axes.set_xscale("log")
    style.log_axis(axes.xaxis, edges[0], edges[-1])
    axes.set(title=title, ylabel="fraction", xlim=(edges[0], edges[-1]))
    clipped = rf"; below $10^{{{math.log10(SMALLEST):.0f}}}$ in the first bin" if drawn.min() <= SMALLEST else ""
    axes.set_xlabel(f"uncertainty [nats]{clipped}")
    axes.set_ylim(0, HEADROOM * axes.get_ylim()[1])
    axes.legend(loc="upper left")
