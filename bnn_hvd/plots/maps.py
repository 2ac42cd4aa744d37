"""Maps of the uncertainty, where examples have several labels, as one per pixel or per time step.

Legend: N examples, K chosen ones, C classes; the axes of the labels follow N and K.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bnn_hvd.plots import predictive, style
from bnn_hvd.run import records

PARTS = {  # of the total uncertainty: of classes, and of real values
    "total": ("predictive_entropy_N", "total_std_N"),
    "aleatoric": ("expected_entropy_N", "aleatoric_std_N"),
    "epistemic": ("mutual_information_N", "epistemic_std_N"),
}
OPTIONAL = ("probs_NC", "labels_N", "class_names", "mean_N", "y_N", *(key for keys in PARTS.values() for key in keys))
CLASS_COLOURS = (style.SKY, style.ORANGE, style.GREEN, style.VERMILION, style.BLUE, "#CC79A7", "#F0E442", style.GREY)
PARTS_SHOWN = "viridis"


class Column(NamedTuple):
    """A column of the figure: a map of each example, or a line, with what all of them share."""

    title: str
    maps_K: np.ndarray
    low: float
    high: float
    colours: Any
    has_scale: bool = True  # else its values are numbers of classes


def uncertainty_maps(run: Path) -> Figure:
    """Draw the examples that are most doubtful on average: input, label, prediction, and the uncertainties.

    Of labels with three axes or more, the middle of the first ones is shown.
    """
    arrays = style.read_npz(run / records.PREDICTIVE, "map_index_K", "examples_K", optional=OPTIONAL)
    index_K = arrays["map_index_K"]
    columns = _columns(arrays, index_K)
    lines = columns[0].maps_K.ndim == 2
    shape = (2.6, 1.5) if lines else (1.9, 1.9)
    figure = style.figure("Most doubtful examples", run, shape[0] * (1 + len(columns)), 1.3 + shape[1] * len(index_K))
    rows = len(index_K)
    heights = [1.0] * rows + [0.04] * (not lines)  # below the images, their scales
    grid = figure.subplots(len(heights), 1 + len(columns), squeeze=False, height_ratios=heights)
    grid[0, 0].set_title("input")
    for axes, example, index in zip(grid[:rows, 0], arrays["examples_K"], index_K, strict=True):
        _draw_input(axes, example, lines)
        axes.set_ylabel(f"example {index}", fontsize=8)
    for column, place in zip(columns, grid.T[1:], strict=True):
        place[0].set_title(column.title)
        for axes, values in zip(place[:rows], column.maps_K, strict=True):
            (_draw_line if lines else _draw_map)(axes, values, column)
            if lines and not column.has_scale and "class_names" in arrays:
                _name_classes(axes, arrays["class_names"])
        if column.has_scale and not lines:
            figure.colorbar(place[0].images[0], cax=place[rows], orientation="horizontal")
    for axes in grid[rows:].flat:
        axes.set_visible(bool(axes.images or axes.collections))
    if "class_names" in arrays and not lines:
        _legend(figure, arrays["class_names"], columns[-1 - len(PARTS)])
    return figure


def _columns(arrays: dict[str, np.ndarray], index_K: np.ndarray) -> list[Column]:
    """Return the label, if there is any, the prediction, and the uncertainties."""
    of_classes = "probs_NC" in arrays
    prediction = arrays["probs_NC"][index_K].argmax(-1) if of_classes else arrays["mean_N"][index_K]
    label = arrays.get("labels_N" if of_classes else "y_N")
    named = {"label": label[index_K]} if label is not None else {}
    named = {name: _shown(values) for name, values in (named | {"prediction": prediction}).items()}
    if of_classes:
        count = len(arrays["class_names"])
        colours = ListedColormap([*_class_colours(count), "white"])  # white: there is no label
        named = {name: np.where(values < 0, count, values) for name, values in named.items()}
        found = [Column(name, values, -0.5, count + 0.5, colours, False) for name, values in named.items()]
    else:
        low, high = (float(function(list(named.values()))) for function in (np.nanmin, np.nanmax))
        found = [Column(name, values, low, high, "cividis") for name, values in named.items()]
    unit = " [nats]" if of_classes else " [std]"
    for name, keys in PARTS.items():
        values = _shown(arrays[keys[0] if of_classes else keys[1]][index_K])
        found.append(Column(name + unit, values, 0.0, max(float(values.max()), 1e-12), PARTS_SHOWN))
    return found


def _shown(values: np.ndarray) -> np.ndarray:
    """Return lines [K, T] or images [K, H, W]: of more axes, the middle of the first ones."""
    while values.ndim > 3:
        values = values[:, values.shape[1] // 2]
    return values


def _class_colours(count: int) -> list[Any]:
    if count <= len(CLASS_COLOURS):
        return list(CLASS_COLOURS[:count])
    import matplotlib

    return list(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count)))


def _draw_input(axes: Axes, example: np.ndarray, lines: bool) -> None:
    """Draw an image, or a sequence [T, ...] as lines."""
    if lines:
        axes.plot(example.reshape(len(example), -1), linewidth=0.8)
        axes.grid(False)
        return
    while example.ndim > 3:
        example = example[len(example) // 2]
    axes.imshow(predictive.to_image(example), cmap="gray", interpolation="nearest")
    _bare(axes)


def _draw_map(axes: Axes, values: np.ndarray, column: Column) -> None:
    axes.imshow(values, cmap=column.colours, vmin=column.low, vmax=column.high, interpolation="nearest")
    _bare(axes)


def _draw_line(axes: Axes, values: np.ndarray, column: Column) -> None:
    drawstyle, top = ("default", column.high) if column.has_scale else ("steps-mid", column.high - 1)
    axes.plot(np.where(values > top, np.nan, values), color=style.BLUE, linewidth=1, drawstyle=drawstyle)
    margin = 0.05 * (top - column.low)
    axes.set_ylim(column.low - margin, top + margin)


def _name_classes(axes: Axes, names: np.ndarray) -> None:
    if len(names) <= len(CLASS_COLOURS):
        axes.set_yticks(range(len(names)), [predictive.shorten(name) for name in names])


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(False)


def _legend(figure: Figure, names: np.ndarray, classes: Column) -> None:
    if len(names) > 2 * len(CLASS_COLOURS):
        return
    colours = classes.colours.colors
    patches = [
        Patch(color=colour, label=predictive.shorten(name)) for name, colour in zip(names, colours, strict=False)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(names), 8))
