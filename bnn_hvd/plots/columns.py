"""Figures of targets with several columns, and of gravitational waves: calibration, posteriors, strain, uncertainty.

Shapes: N test examples, D columns, M drawn values, E events with an exact posterior, T times.
"""

import itertools
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from bnn_hvd.metrics import detection
from bnn_hvd.plots import style
from bnn_hvd.run import records

COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.SKY, style.BLACK)
LEVELS = np.arange(1, 100) / 100
BINS_OF_SNR, COVERAGE = 6, 0.9
CHOSEN_SNR = {"loud": 0.95, "typical": 0.5, "faint": 0.05}  # quantiles of the SNR
CONTOURS = (0.5, 0.9)
MOST_POINTS = 600


def probability_plot(run: Path) -> Figure:
    """Draw the fraction of targets below each predicted quantile over its level, for each column (a P-P plot).

    The band has 90 % of such curves at each level if the predictions are calibrated.
    """
    found = style.read_npz(run / records.PREDICTIVE, "pit_ND", "target_names", "region_level_N")
    levels = {str(name): pit_N for name, pit_N in zip(found["target_names"], found["pit_ND"].T, strict=True)}
    return levels_figure(run, levels | {"all columns (region)": found["region_level_N"]})


def levels_figure(run: Path, levels: dict[str, np.ndarray]) -> Figure:
    """Draw the distribution function of levels, and the p-value of the Kolmogorov-Smirnov test of each."""
    figure = style.figure("Levels of the targets", run, 6.4, 6.2)
    axes = style.grid(figure, 1, 1)[0]
    count = len(next(iter(levels.values())))
    low, high = (stats.binom.ppf(q, count, LEVELS) / count for q in (0.05, 0.95))
    axes.fill_between(LEVELS, low, high, color=style.GREY, alpha=0.35, linewidth=0, label="90 % if calibrated")
    for colour, (name, level_N) in zip(itertools.cycle(COLOURS), levels.items(), strict=False):
        p_value = stats.kstest(level_N, "uniform").pvalue
        observed = np.mean(level_N[:, None] <= LEVELS, axis=0)
        axes.plot(LEVELS, observed, color=colour, label=f"{name}, p = {p_value:.2g}")
    axes.set(xlabel="predicted level", ylabel="fraction of targets below it", aspect="equal")
    axes.legend(loc="upper left")
    return figure


def coverage_over_snr(run: Path) -> Figure:
    """Draw the fraction of targets in the 90 % region over the SNR, with its 95 % interval."""
    found = style.read_npz(run / records.PREDICTIVE, "region_level_N", "snr_N")
    order = np.argsort(found["snr_N"])
    figure = style.figure("Coverage of the 90 % region", run, 6.4, 4.2)
    axes = style.grid(figure, 1, 1)[0]
    axes.axhline(COVERAGE, color=style.GREY, linestyle="--", label="calibrated")
    for part in np.array_split(order, BINS_OF_SNR):
        inside = int(np.sum(found["region_level_N"][part] <= COVERAGE))
        interval = stats.binomtest(inside, len(part)).proportion_ci(0.95, "wilson")
        middle, share = np.median(found["snr_N"][part]), inside / len(part)
        axes.errorbar(
            middle, share, [[share - interval.low], [interval.high - share]], fmt="o", color=style.BLUE, capsize=3
        )
    overall = np.mean(found["region_level_N"] <= COVERAGE)
    axes.set(xlabel="signal-to-noise ratio", ylabel="fraction in the region", title=f"all events: {overall:.3f}")
    axes.legend(loc="best")
    return figure


def strain(run: Path) -> Figure:
    """Draw the strain of a loud, a typical and a faint event with the waveform in it, around its arrival."""
    found = style.read_npz(run / records.PREDICTIVE, "snr_N", "signal_NT", "strain_NT")
    figure = style.figure("Whitened strain and the waveform in it", run, 10, 6.5)
    for axes, (name, n) in zip(style.grid(figure, 3, 1), chosen_events(found["snr_N"]).items(), strict=True):
        time_ms = 1000 * np.arange(found["strain_NT"].shape[1]) / found["strain_NT"].shape[1]
        shown = time_ms > 700
        axes.plot(time_ms[shown], found["strain_NT"][n][shown], color=style.GREY, linewidth=0.7, label="strain")
        axes.plot(time_ms[shown], found["signal_NT"][n][shown], color=style.VERMILION, label="waveform")
        axes.set(ylabel="noise deviations", title=f"{name} event, SNR {found['snr_N'][n]:.1f}")
    axes.set_xlabel("time (ms)")
    axes.legend(loc="upper left")
    return figure


def unseen(run: Path) -> Figure:
    """Draw histograms of total and of epistemic uncertainty of the test part and of what training never saw.

    A single draw has no epistemic part, which is then left out.
    """
    arrays = style.read_npz(run / records.PREDICTIVE)
    kinds = {"predictive_entropy": "total uncertainty (nats)", "mutual_information": "epistemic uncertainty (nats)"}
    kinds = {kind: label for kind, label in kinds.items() if np.ptp(arrays[f"{kind}_N"]) > 0}
    figure = style.figure("Uncertainty of what training never saw", run, 5.5 * len(kinds), 4.4)
    for axes, (kind, label) in zip(style.grid(figure, len(kinds), len(kinds)), kinds.items(), strict=True):
        sets = {name.removesuffix(f"_{kind}_M"): v for name, v in arrays.items() if name.endswith(f"_{kind}_M")}
        _histograms(axes, arrays[f"{kind}_N"], sets)
        axes.set(xlabel=label, ylabel="density")
        axes.legend(loc="best")
    return figure


def _histograms(axes: Axes, test_N: np.ndarray, sets: dict[str, np.ndarray]) -> None:
    low, high = np.quantile(np.concatenate([test_N, *sets.values()]), [0.0, 0.99])
    bins = np.linspace(low, high, 40)
    axes.hist(np.clip(test_N, low, high), bins, density=True, color=style.GREY, alpha=0.5, label="test part")
    for colour, (name, values_M) in zip(COLOURS, sets.items(), strict=False):
        label = f"{name}, AUROC {detection.auroc(test_N, values_M):.2f}"
        axes.hist(
            np.clip(values_M, low, high), bins, density=True, histtype="step", linewidth=1.6, color=colour, label=label
        )


def exact_posteriors(run: Path) -> Figure:
    """Draw the predicted beside the exact posterior of a loud, a typical and a faint event: each pair of columns."""
    found = style.read_npz(
        run / records.PREDICTIVE,
        "values_NMD",
        "y_ND",
        "exact_event_E",
        "exact_snr_E",
        "exact_values_EMD",
        "target_names",
    )
    event_E, names = found["exact_event_E"], [str(name) for name in found["target_names"]]
    pairs = list(itertools.combinations(range(len(names)), 2))
    figure = style.figure("Predicted (blue) and exact (red) posterior", run, 4 * len(pairs), 11)
    panels = iter(style.grid(figure, 3 * len(pairs), len(pairs)))
    for name, e in chosen_events(found["exact_snr_E"]).items():
        n = event_E[e]
        for i, j in pairs:
            axes = next(panels)
            for colour, values_MD in (
                (style.BLUE, found["values_NMD"][n]),
                (style.VERMILION, found["exact_values_EMD"][e]),
            ):
                _points_and_contours(axes, values_MD[:, [i, j]], colour)
            axes.plot(*found["y_ND"][n][[i, j]], "+", color=style.BLACK, markersize=12, markeredgewidth=2)
            axes.set(xlabel=names[i], ylabel=names[j], title=f"{name}, SNR {found['exact_snr_E'][e]:.1f}")
    figure.supxlabel("contours: regions of 50 and 90 %; cross: the truth", fontsize=9)
    return figure


def _points_and_contours(axes: Axes, values_M2: np.ndarray, colour: str) -> None:
    """Draw some of the values, and contours of a smooth density that have 50 and 90 % of the values within."""
    axes.plot(*values_M2[:MOST_POINTS].T, ".", markersize=1.5, alpha=0.35, color=colour)
    density = stats.gaussian_kde(values_M2[:MOST_POINTS].T)
    levels = np.quantile(density(values_M2[:MOST_POINTS].T), [1 - share for share in reversed(CONTOURS)])
    sides = [np.linspace(low, high, 60) for low, high in zip(values_M2.min(0), values_M2.max(0), strict=True)]
    x, y = np.meshgrid(*sides)
    heights = density(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
    axes.contour(x, y, heights, levels=np.unique(levels), colors=[colour], linewidths=1.4)


def chosen_events(snr_N: np.ndarray) -> dict[str, int]:
    """Return the numbers of a loud, a typical and a faint event."""
    order = np.argsort(snr_N)
    return {name: int(order[round(q * (len(order) - 1))]) for name, q in CHOSEN_SNR.items()}
