"""Figures of the predictive distribution: all posterior draws for one test example of each class.

Legend: S draws, K chosen examples, N test examples, C classes; H, W height and width of an image.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from bnn_hvd.plots import style
from bnn_hvd.run import records

ENTROPIES = ("expected_entropy", "mutual_information")  # aleatoric, epistemic
KEYS = ("draws_SKC", "example_index_K", "examples_K", "class_names", *(f"{e}_N" for e in ENTROPIES))
MAX_SHARED_CLASSES = 12  # with more, each panel shows its own most probable ones
MAX_SHOWN_CLASSES = 8
MAX_LEVEL_CHARACTERS = 45  # of all class names of a panel; longer ones are rotated, so that they do not overlap
# Ends of the axis of probabilities: the first that holds all draws, else 1
TOPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SMALLEST = 1e-6  # probability on a logarithmic axis; a smaller one is drawn as this
LOG_ENDS = {  # lower ends of that axis, with the labels of its two lower ticks
    1e-2: ("$10^{-2}$", "$10^{-1}$"), 1e-4: ("$10^{-4}$", "$10^{-2}$"), SMALLEST: (r"$\leq 10^{-6}$", "$10^{-3}$"),
}  # fmt: skip
JITTER = 0.32  # half the width, in classes, over which the dots of the draws are spread


class Chosen(NamedTuple):
    """A chosen test example: its draws, input, index in the test part, label, and parts of its uncertainty in nats.

    label: -1 if the example has none.
    """

    draws_SC: np.ndarray
    example: np.ndarray
    test_index: int
    label: int
    aleatoric: float
    epistemic: float


def confident(run: Path) -> Figure:
    """Draw the test example of each class whose prediction is most confident.

    The axis is logarithmic: of a probability near 1, the others say what it is taken from.
    """
    return _predictive_draws(run, "Most confident test example of each class", half=0, log=True)


def doubtful(run: Path) -> Figure:
    """Draw the test example of each class whose prediction is most doubtful."""
    return _predictive_draws(run, "Most doubtful test example of each class", half=1, log=False)


def _predictive_draws(run: Path, title: str, half: int, log: bool) -> Figure:
    arrays = style.read_npz(run / records.PREDICTIVE, *KEYS, optional=("labels_N",))
    if "labels_N" not in arrays:
        arrays["labels_N"] = np.full(len(arrays["expected_entropy_N"]), -1)
        title = title.replace("test example of each class", "example of each predicted class")
    names = [shorten(name) for name in arrays["class_names"]]
    chosen = _chosen(arrays, half)
    columns = 1 if len(chosen) <= 3 else 2
    rows = math.ceil(len(chosen) / columns)
    shared = len(names) <= MAX_SHARED_CLASSES
    top = next((top for top in TOPS if top >= max(example.draws_SC.max() for example in chosen)), 1.0)
    figure = style.figure(title, run, 6.5 * columns, 1.4 + (1.6 if shared else 1.85) * rows)
    spec = GridSpec(rows, 2 * columns, figure=figure, width_ratios=[1, 4] * columns)
    for i, example in enumerate(chosen):
        row, column = divmod(i, columns)
        _draw_input(figure.add_subplot(spec[row, 2 * column]), example, names)
        axes = figure.add_subplot(spec[row, 2 * column + 1])
        shown = shown_classes(example)
        _draw_probabilities(axes, example, shown)
        _caption(axes, example, names)
        _log_axis(axes, chosen) if log else axes.set(ylim=(-0.02 * top, 1.02 * top), yticks=(0, top / 2, top))
        axes.set_ylabel("probability" if column == 0 else "")
        is_last = i + columns >= len(chosen)
        _label_classes(axes, [names[c] for c in shown], full=is_last or not shared)
        axes.set_xlabel("class" if is_last else "")
    _legend(figure, len(arrays["draws_SKC"]), 2 * columns, labelled=any(example.label >= 0 for example in chosen))
    return figure


def _log_axis(axes: Axes, chosen: list[Chosen]) -> None:
    """Make the axis of probabilities logarithmic; its lower end is the first of LOG_ENDS that is below all draws."""
    least = min(example.draws_SC[:, shown_classes(example)].min() for example in chosen)
    end = next((end for end in LOG_ENDS if end <= least), SMALLEST)
    axes.set(yscale="log", ylim=(0.5 * end, 2))
    axes.set_yticks((end, end**0.5, 1), (*LOG_ENDS[end], "1"))
    axes.yaxis.set_minor_locator(NullLocator())


def _chosen(arrays: dict[str, np.ndarray], half: int) -> list[Chosen]:
    """Return the confident (half 0) or the doubtful (half 1) examples, in the order of `choose_examples`."""
    middle = len(arrays["example_index_K"]) // 2
    return [_example(arrays, k) for k in range(half * middle, (half + 1) * middle)]


def _example(arrays: dict[str, np.ndarray], k: int) -> Chosen:
    index = int(arrays["example_index_K"][k])
    # After rounding errors the mutual information can be -1e-9, which would be written as "-0.00".
    entropies = [max(0.0, float(arrays[f"{name}_N"][index])) for name in ENTROPIES]
    return Chosen(arrays["draws_SKC"][:, k], arrays["examples_K"][k], index, int(arrays["labels_N"][index]), *entropies)


def shown_classes(example: Chosen) -> list[int]:
    """Return the classes to draw, ascending: all, or of many the most probable ones and the true one."""
    mean_C = example.draws_SC.mean(axis=0)
    if len(mean_C) <= MAX_SHARED_CLASSES:
        return list(range(len(mean_C)))
    likely = [int(c) for c in np.argsort(-mean_C, kind="stable")[:MAX_SHOWN_CLASSES]]
    return sorted(likely if example.label in (-1, *likely) else [*likely[:-1], example.label])


def _draw_probabilities(axes: Axes, example: Chosen, shown: list[int]) -> None:
    """Draw a dot per draw and class, a bar at the mean of the draws, and a shaded band behind the true class."""
    draws = np.maximum(example.draws_SC[:, shown], SMALLEST)
    offsets = JITTER * spread(len(draws))
    alpha = min(0.9, max(0.15, 30 / len(draws)))
    for i, c in enumerate(shown):
        colour = style.BLUE if example.label in (c, -1) else style.VERMILION
        if c == example.label:
            axes.axvspan(i - 0.5, i + 0.5, color=style.SKY, alpha=0.25, lw=0)
        if len(draws) > 1:  # a single draw is its own mean
            axes.scatter(i + offsets, draws[:, i], s=7, color=colour, alpha=alpha, lw=0, rasterized=True, clip_on=False)
        axes.hlines(draws[:, i].mean(), i - 0.42, i + 0.42, color=style.BLACK, linewidth=2, zorder=3)
    axes.set_xlim(-0.5, len(shown) - 0.5)
    axes.grid(False, axis="x")


def spread(count: int) -> np.ndarray:
    """Return `count` evenly spread offsets in (-1, 1), not in order: the golden-ratio sequence."""
    return 2 * ((np.arange(count) * (math.sqrt(5) - 1) / 2 + 0.5) % 1) - 1


def _caption(axes: Axes, example: Chosen, names: list[str]) -> None:
    """Write the predicted class, in colour if it is wrong, and the uncertainties."""
    predicted = int(example.draws_SC.mean(axis=0).argmax())
    colour = style.BLACK if example.label in (predicted, -1) else style.VERMILION
    axes.set_title(f"predicted {names[predicted]}", loc="left", fontsize=9, color=colour)
    axes.set_title(sum_of_parts(example.aleatoric, example.epistemic), loc="right", fontsize=8)


def sum_of_parts(aleatoric: float, epistemic: float) -> str:
    """Return the uncertainties as a sum that is right as it is written: that of the rounded parts."""
    aleatoric, epistemic = round(aleatoric, 3), round(epistemic, 3)
    return f"{aleatoric + epistemic:.3f} = {aleatoric:.3f} aleatoric + {epistemic:.3f} epistemic nats"


def _label_classes(axes: Axes, labels: list[str], full: bool) -> None:
    """Write the names of the classes; not `full`: only their ticks, because the panel below has the names."""
    turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if sum(map(len, labels)) > MAX_LEVEL_CHARACTERS else {}
    axes.set_xticks(range(len(labels)), labels if full else [], **turned)
    axes.tick_params(axis="x", length=0)


def _draw_input(axes: Axes, example: Chosen, names: list[str]) -> None:
    """Draw an image, or a vector as a line over its features; write the true class below it, if it is known."""
    if example.example.ndim == 1:
        axes.plot(example.example, color=style.BLACK, linewidth=1)
    else:
        axes.imshow(to_image(example.example), cmap="gray", interpolation="nearest")
        axes.spines[:].set_visible(False)
        axes.grid(False)
    axes.set(xticks=[], yticks=[])
    if example.label < 0:
        axes.set_xlabel(f"example {example.test_index}", fontsize=8)
    else:
        axes.set_xlabel(f"true: {names[example.label]}\n(test example {example.test_index})", fontsize=8)


def to_image(example: np.ndarray) -> np.ndarray:
    """Return an image [H, W] or [H, W, 3] in [0, 1]; `example` is [H, W] or [H, W, channels], in any range."""
    pixels = example.astype(np.float64)
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        pixels = pixels.mean(axis=-1)
    low, high = (0, 255) if example.dtype == np.uint8 else (pixels.min(), pixels.max())
    return (pixels - low) / max(high - low, 1e-12)


def shorten(name: str, most: int = 12) -> str:
    """Return a class name of at most `most` letters, without its middle: names often differ at the end."""
    return name if len(name) <= most else name[: most // 2] + "…" + name[1 - most // 2 :]


def _legend(figure: Figure, num_draws: int, columns: int, labelled: bool) -> None:
    handles: dict[str, Artist] = {
        "true class": Patch(color=style.SKY, alpha=0.25),
        f"mean of {num_draws} draws": Line2D([], [], color=style.BLACK, linewidth=2),
        "one draw, true class": Line2D([], [], color=style.BLUE, marker="o", markersize=5, linestyle=""),
        "one draw, other classes": Line2D([], [], color=style.VERMILION, marker="o", markersize=5, linestyle=""),
    }
    if not labelled:
        handles = {
            f"mean of {num_draws} draws": handles[f"mean of {num_draws} draws"],
            "one draw": handles["one draw, true class"],
        }
    elif num_draws == 1:  # then there are no dots
        handles = {"true class": handles["true class"], "probability": handles["mean of 1 draws"]}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)
