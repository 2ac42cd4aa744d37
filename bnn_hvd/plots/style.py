"""The style of all figures, the reading of their files, and saving.

The colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart. Figures are made without
pyplot, which needs global state and may need a display.
"""

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bnn_hvd.errors import UserError
from bnn_hvd.run import records

BLACK, GREY, BLUE, SKY = "#000000", "#8c8c8c", "#0072B2", "#56B4E9"
ORANGE, VERMILION, GREEN = "#E69F00", "#D55E00", "#009E73"

RC: Any = {
    "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 9,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "figure.titlesize": 12, "figure.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "lines.linewidth": 1.8, "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.1, "figure.constrained_layout.h_pad": 0.08,
    "savefig.dpi": 150, "pdf.fonttype": 42,  # TrueType: text stays text
    "svg.hashsalt": "bnn_hvd",  # with METADATA, the same run gives the same bytes
}  # fmt: skip
METADATA: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def figure(title: str, run: Path, width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches; its title ends with the name of the run."""
    empty = Figure(figsize=(width, height), layout="constrained")
    empty.suptitle(f"{title}: {run.resolve().name}")
    return empty


def grid(figure: Figure, count: int, columns: int) -> list:
    """Return `count` axes, row by row."""
    spec = GridSpec(math.ceil(count / columns), columns, figure=figure)
    return [figure.add_subplot(spec[i // columns, i % columns]) for i in range(count)]


def save(figure: Figure, path: Path) -> None:
    """Write the figure atomically, in the format that the suffix of `path` names."""
    kind = path.suffix[1:]
    with records.atomic(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=METADATA[kind])


def draw(drawn: Callable[[], Figure], path: Path) -> None:
    """Draw a figure in the style of all figures, and save it."""
    with matplotlib.rc_context(RC):
        save(drawn(), path)


def read_npz(path: Path, *required: str, optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Return the named arrays of a file; all of them if none is named.

    Raises:
      UserError: the file is damaged, or a required array is missing.
    """
    with opened(path) as arrays:
        wanted = required + tuple(key for key in optional if key in arrays) or tuple(arrays)
        return {key: arrays[key] for key in wanted}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield the arrays of a file. Each is read when it is looked up.

    Raises:
      UserError: the file is damaged, or an array that is looked up is missing.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except KeyError as error:
        raise UserError(f"{path.absolute()} can't be plotted: {error.args[0]}; write it again") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path.absolute()} is damaged ({error}): copy it again, or write it again") from None


def number(value: float) -> str:
    """Return a number as an axis shows it: thousands have commas, and the sign is a minus, not a hyphen."""
    return f"{value:,.10g}".replace("-", "\N{MINUS SIGN}")


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis: with plain numbers if it spans less than three powers of ten, else with these."""
    axis.set_minor_formatter(NullFormatter())
    if high < 1000 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def rice(count: float) -> int:
    """Return the number of histogram bins for `count` values: 2 * cube root (Rice rule)."""
    return max(1, math.ceil(2 * count ** (1 / 3)))


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` evenly spread indices of `range(count)`, with the first and the last."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()})
