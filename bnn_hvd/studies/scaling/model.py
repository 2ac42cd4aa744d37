"""The latency-bandwidth model of an all-reduce, its constants, and their fit to measurements.

Legend: p ranks, n bytes, M measurements, K constants. Times in seconds. docs/maths.md has the formulas.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from bnn_hvd.distributed.settings import CYCLE_S
from bnn_hvd.errors import UserError

EXCHANGES = 2  # of lg p messages each, in which the ranks agree what to reduce
HOROVODS_CYCLE_S = 1e-3  # where nothing is set
ROUNDS = 20  # of the fit, at most: which algorithm is the fastest follows from what is fitted


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


class Cost(NamedTuple):
    """The messages that one rank sends one after the other in an all-reduce, and their bytes."""

    messages: float
    num_bytes: float

    def seconds(self, alpha_s: float, beta_s_per_byte: float) -> float:
        return alpha_s * self.messages + beta_s_per_byte * self.num_bytes


def algorithms(ranks: int, num_bytes: float) -> list[Cost]:
    """Return the costs of an all-reduce of p ranks and n bytes, by each algorithm of MPI.

    Recursive doubling exchanges all n bytes lg p times. Rabenseifner's halves and doubles what it exchanges: 2 lg p
    messages of 2 (p - 1) / p n bytes. Both fold the ranks beyond a power of two into the others. The ring sends
    2 (p - 1) messages of n / p bytes (Thakur, Rabenseifner and Gropp 2005; Patarasuk and Yuan 2009).
    """
    if ranks == 1:
        return [Cost(0, 0)]
    doublings = ranks.bit_length() - 1
    power = 2**doublings
    folded = power < ranks
    return [
        Cost(doublings + 2 * folded, (doublings + 2 * folded) * num_bytes),
        Cost(2 * doublings + 3 * folded, (2 * (power - 1) / power + 2 * folded) * num_bytes),
        Cost(2 * (ranks - 1), 2 * (ranks - 1) / ranks * num_bytes),
    ]


def allreduce_s(ranks: int, num_bytes: float, alpha_s: float, beta_s_per_byte: float) -> float:
    """Return the seconds of an all-reduce by the fastest algorithm, as MPI chooses by sizes."""
    return fastest(ranks, num_bytes, alpha_s, beta_s_per_byte).seconds(alpha_s, beta_s_per_byte)


def fastest(ranks: int, num_bytes: float, alpha_s: float, beta_s_per_byte: float) -> Cost:
    return min(algorithms(ranks, num_bytes), key=lambda cost: cost.seconds(alpha_s, beta_s_per_byte))


def coordination_s(ranks: int, alpha_s: float) -> float:
    """Return the seconds in which the ranks agree that they all have a tensor to reduce.

    Horovod looks once in a cycle, and then reduces one small message to know what all ranks have, and one to know what
    any has; each takes lg p messages.
    """
    return CYCLE_S + EXCHANGES * math.ceil(math.log2(ranks)) * alpha_s if ranks > 1 else 0.0


def fit(
    ranks_M: ArrayLike, bytes_M: ArrayLike, seconds_M: ArrayLike, fixed_s: float = 0.0, exchanges: int = 0
) -> tuple[float, float]:
    """Return (alpha_s, beta_s_per_byte) >= 0, by least squares of the relative errors.

    The errors are relative because the times span orders of magnitude, and their noise is proportional to them.

    fixed_s: part of each time that has nothing to do with the network. exchanges: small messages of a rank before each
    all-reduce, as a multiple of lg p.
    """
    ranks, sizes, times = np.asarray(ranks_M), np.asarray(bytes_M), np.asarray(seconds_M, np.float64)
    before = exchanges * np.ceil(np.log2(ranks))
    x = np.array([0.0, 1.0])  # at first, algorithms that send the fewest bytes
    for _ in range(ROUNDS):
        costs = [fastest(p, n, *x) for p, n in zip(ranks.tolist(), sizes.tolist(), strict=True)]
        columns = np.array([(cost.messages + more, cost.num_bytes) for cost, more in zip(costs, before, strict=True)])
        last, x = x, nonnegative(columns, times, fixed_s)
        if np.array_equal(last, x):
            break
    return float(x[0]), float(x[1])


def nonnegative(columns_MK: np.ndarray, times_M: np.ndarray, fixed: float = 0.0) -> np.ndarray:
    """Return the x_K >= 0 that minimises sum_M ((columns x + fixed - time) / time)^2."""
    size_K = np.maximum(np.abs(columns_MK / times_M[:, None]).max(0), 1e-300)  # seconds and bytes differ by 1e9
    return nnls(columns_MK / times_M[:, None] / size_K, 1 - fixed / times_M)[0] / size_K


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
        ranks, sizes, times = zip(*settings[chosen], strict=True)
        alpha_s, beta = fit(ranks, sizes, times, cycle_s(chosen[1]), EXCHANGES)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--allreduce={path} can't be used ({error}): it is the allreduce.json of `python -m benchmarks allreduce`"
        ) from None
    return Link(alpha_s, beta, f"fit to {path.name}, {max(row[0] for row in settings[chosen])} ranks")


def cycle_s(kind: str) -> float:
    """Return the seconds of Horovod's cycle in a row of the benchmark: "cycle 0.5", in ms, or "cycle default"."""
    milliseconds = kind.removeprefix("cycle ")
    return HOROVODS_CYCLE_S if milliseconds == "default" else 1e-3 * float(milliseconds)
