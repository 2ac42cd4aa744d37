"""The latency-bandwidth model of a ring all-reduce, its constants, and their fit to measurements.

Legend: p ranks, n bytes, M measurements. Times in seconds. docs/maths.md has the formulas.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bnn_hvd.errors import UserError


class Link(NamedTuple):
    """What it costs to send a message of n bytes to a neighbour: alpha_s + n * beta_s_per_byte."""

    alpha_s: float
    beta_s_per_byte: float
    source: str

    @property
    def gb_per_s(self) -> float:
        return 1e-9 / self.beta_s_per_byte if self.beta_s_per_byte else float("inf")

    def __str__(self) -> str:
        return f"latency {1e6 * self.alpha_s:.3g} µs, {self.gb_per_s:.3g} GB/s ({self.source})"


class Interconnect(NamedTuple):
    """Nominal bandwidth of a node's link, one direction, and the typical latency of a small MPI message."""

    alpha_us: float
    gb_per_s: float
    source: str


# For orientation: what a link is rated for, not what a busy machine gives. `--allreduce` is better.
INTERCONNECTS = {
    "aries": Interconnect(1.3, 10.0, "Cray Aries, one link"),
    "slingshot11": Interconnect(2.0, 25.0, "Slingshot, 200 Gb/s per NIC"),
    "hdr": Interconnect(1.0, 25.0, "InfiniBand HDR, 200 Gb/s, one port"),
    "ndr": Interconnect(1.0, 50.0, "InfiniBand NDR, 400 Gb/s, one port"),
    "10gbe": Interconnect(20.0, 1.25, "10 Gb/s Ethernet, TCP"),
}


def ring_s(ranks: ArrayLike, num_bytes: ArrayLike, alpha_s: float, beta_s_per_byte: float) -> np.ndarray:
    """Return 2 (p - 1) alpha + 2 (p - 1) / p n beta: p - 1 steps that reduce and p - 1 that gather, n / p bytes each.

    Thakur, Rabenseifner and Gropp 2005; Patarasuk and Yuan 2009.
    """
    latency, volume = _coefficients(ranks, num_bytes)
    return alpha_s * latency + beta_s_per_byte * volume


def fit(ranks_M: ArrayLike, bytes_M: ArrayLike, seconds_M: ArrayLike) -> tuple[float, float]:
    """Return (alpha_s, beta_s_per_byte) >= 0 of the ring that has the least squares of relative errors.

    Relative, for the times span orders of magnitude, and noise is in proportion to them.
    """
    return nonnegative(np.stack(_coefficients(ranks_M, bytes_M), axis=-1), np.asarray(seconds_M, np.float64))


def nonnegative(columns_M2: np.ndarray, times_M: np.ndarray) -> tuple[float, float]:
    """Return x >= 0 that minimises sum_M ((columns x - time) / time)^2, for two columns.

    If the best x has a negative part, the best with that part at 0 is on the border: the better of the two ends.
    """
    scaled_M2 = columns_M2 / times_M[:, None]
    best, *_ = np.linalg.lstsq(scaled_M2, np.ones(len(times_M)), rcond=None)
    candidates = [best] if (best >= 0).all() else [_alone(scaled_M2, 0), _alone(scaled_M2, 1)]
    x = min(candidates, key=lambda x: float(np.square(scaled_M2 @ x - 1).sum()))
    return float(x[0]), float(x[1])


def _alone(scaled_M2: np.ndarray, column: int) -> np.ndarray:
    """Return the least-squares x whose other entry is 0."""
    x, one = np.zeros(2), scaled_M2[:, column]
    x[column] = max(0.0, one.sum() / max(np.square(one).sum(), 1e-300))
    return x


def _coefficients(ranks: ArrayLike, num_bytes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return what alpha and beta are multiplied by: 2 (p - 1) and 2 (p - 1) / p n."""
    p, n = np.broadcast_arrays(np.asarray(ranks, np.float64), np.asarray(num_bytes, np.float64))
    return 2 * (p - 1), 2 * (p - 1) / p * n


def named(name: str) -> Link:
    """Return the link of an interconnect of the table."""
    row = INTERCONNECTS[name]
    return Link(1e-6 * row.alpha_us, 1e-9 / row.gb_per_s, row.source.split(";")[0])


def measured(path: Path) -> Link:
    """Return the link that fits what `python -m benchmarks allreduce` measured.

    Of the settings in the file, the one that training uses is taken: MPI, with the cycle time that
    `cluster.connect` sets. Of the repetitions, the fastest: a busy machine makes the others longer.
    """
    try:
        rows = json.loads(path.read_text())
        settings: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
        for row in rows:
            ms, point = row.get("step_ms_min", row["step_ms"]), (row["ranks"], row["message_bytes"])
            settings.setdefault((row["library"], row["kind"]), []).append((*point, 1e-3 * ms))
        chosen = min(settings, key=lambda key: ("MPI" not in key[0], "0.5" not in key[1]))
        alpha_s, beta = fit(*np.array(settings[chosen]).T)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--allreduce={path} can't be used ({error}): it is the allreduce.json of `python -m benchmarks allreduce`"
        ) from None
    return Link(alpha_s, beta, f"fit to {path.name}, {max(row[0] for row in settings[chosen])} ranks")
