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
    """A link between two ranks: a message of n bytes takes alpha_s + n * beta_s_per_byte seconds."""

    alpha_s: float
    beta_s_per_byte: float
    source: str

    @property
    def gb_per_s(self) -> float:
        return 1e-9 / self.beta_s_per_byte if self.beta_s_per_byte else float("inf")

    def __str__(self) -> str:
        return f"latency {1e6 * self.alpha_s:.3g} µs, {self.gb_per_s:.3g} GB/s ({self.source})"


class Interconnect(NamedTuple):
    """The typical latency of a small MPI message, and the nominal bandwidth of a node's link in one direction."""

    alpha_us: float
    gb_per_s: float
    source: str


# Nominal values, which a busy machine does not reach. --allreduce fits measured ones.
INTERCONNECTS = {
    "aries": Interconnect(1.3, 10.0, "Cray Aries, one link"),
    "slingshot11": Interconnect(2.0, 25.0, "Slingshot, 200 Gb/s per NIC"),
    "hdr": Interconnect(1.0, 25.0, "InfiniBand HDR, 200 Gb/s, one port"),
    "ndr": Interconnect(1.0, 50.0, "InfiniBand NDR, 400 Gb/s, one port"),
    "10gbe": Interconnect(20.0, 1.25, "10 Gb/s Ethernet, TCP"),
}


def ring_s(ranks: ArrayLike, num_bytes: ArrayLike, alpha_s: float, beta_s_per_byte: float) -> np.ndarray:
    """Return the seconds of a ring all-reduce: 2 (p - 1) alpha + 2 (p - 1) / p n beta.

    The ring makes p - 1 steps that reduce and p - 1 steps that gather, each of n / p bytes (Thakur, Rabenseifner and
    Gropp 2005; Patarasuk and Yuan 2009).
    """
    latency, volume = _coefficients(ranks, num_bytes)
    return alpha_s * latency + beta_s_per_byte * volume


def fit(ranks_M: ArrayLike, bytes_M: ArrayLike, seconds_M: ArrayLike) -> tuple[float, float]:
    """Return (alpha_s, beta_s_per_byte) >= 0 of the ring, by least squares of the relative errors.

    The errors are relative because the times span orders of magnitude, and their noise is proportional to them.
    """
    return nonnegative(np.stack(_coefficients(ranks_M, bytes_M), axis=-1), np.asarray(seconds_M, np.float64))


def nonnegative(columns_M2: np.ndarray, times_M: np.ndarray) -> tuple[float, float]:
    """Return the x >= 0 that minimises sum_M ((columns x - time) / time)^2, for two columns.

    If the minimum without the bound has a negative entry, the minimum with it has an entry of 0: the better of two.
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
    """Return the factors of alpha and beta: 2 (p - 1) and 2 (p - 1) / p n."""
    p, n = np.broadcast_arrays(np.asarray(ranks, np.float64), np.asarray(num_bytes, np.float64))
    return 2 * (p - 1), 2 * (p - 1) / p * n


def named(name: str) -> Link:
    """Return the link of an interconnect in INTERCONNECTS."""
    row = INTERCONNECTS[name]
    return Link(1e-6 * row.alpha_us, 1e-9 / row.gb_per_s, row.source)


def measured(path: Path) -> Link:
    """Return the link that fits the measurements of `python -m benchmarks allreduce`.

    The fit takes the rows with the settings of training: MPI, and the cycle time that `cluster.connect` sets. It takes
    the fastest repetition of each size, because other programs make repetitions slower.

    Raises:
      UserError: the file can't be read, or holds something else.
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
