"""Has training converged? A verdict on a finished run, from its log, and for `hmc` from its chains.

The quantities, and what they are at an optimum, are in docs/maths.md. The bounds were chosen in docs/log.md.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

WINDOW = 0.1  # part of training, at its end, that is judged, and compared with the part of that length before it
AT_THE_END = 0.05  # part of training over which the pulls are averaged
MOST_PULL = 0.1  # nats per weight
MOST_KERNEL_PULL = 0.2  # of one kernel: it has fewer weights than the network, and so more noise
MOST_FALL = 0.05  # of the loss, relative
SMALL_FALL = 1e-3  # of the loss, nats per example
NOISE = 3.0  # standard errors
MOST_R_HAT = 1.05
FEWEST_ROWS = 5  # for a line
MOST_DRIFT = 2.0  # of the iterates of swag: 1 if they are independent, 2 of a random walk, 3 along a line
MOST_MISSING = 0.25  # of an ensemble's spread
JUDGED = ("loss", "nll", "learning_rate", "scale_pull", "mean_pull")  # how the names in a row begin that count here

Row = dict[str, Any]


class Verdict(NamedTuple):
    """converged: None where the method says nothing of it. parts: the numbers it was made of. why: lines for the
    user, "" where all is well."""

    converged: bool | None
    parts: dict[str, float | None]
    why: str


def judge(method: str, rows: Sequence[Row], found: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a finished run of a method.

    rows: of `uncut`. found: the content of diagnostics.json of hmc; of other methods
    `Method.signs_of_convergence`.
    """
    if method == "hmc":
        return of_chains(found)
    if method == "laplace":
        return Verdict(None, {}, "laplace: see the point run that it was fitted to")
    return of_descent(rows, found)


def uncut(rows: Sequence[Row], start: int, every: int) -> list[Row]:
    """Return the rows of a run that was never stopped, from rows that are each the mean since the one before.

    A stop and a checkpoint cut a row in two; here a row ends at a multiple of `every` steps, an epoch or the last row.
    The steps are counted from `start`, where the first row begins.
    """
    whole: list[Row] = []
    parts: list[Row] = []
    lengths: list[int] = []
    names = [name for name in (rows[-1] if rows else {}) if name.startswith(JUDGED)]
    for row, before in zip(rows, [start, *(row["step"] for row in rows)], strict=False):
        parts.append(row)
        lengths.append(row["step"] - before)
        if row["step"] % every == 0 or row["epoch"] % 1 == 0 or row is rows[-1]:
            means = {name: float(np.average([part[name] for part in parts], weights=lengths)) for name in names}
            whole.append({"step": row["step"] - start} | means)
            parts, lengths = [], []
    return whole


def of_descent(rows: Sequence[Row], found: Mapping[str, float] = MappingProxyType({})) -> Verdict:
    """Return the verdict on a method that descends a loss; with scales (vi, ivon), also on these.

    rows: in order, each the mean since the one before: step, loss and, with scales, scale_pull, mean_pull, and
    `scale_pull/<kernel>` for each kernel. found: moments_drift of swag, missing_spread of an ensemble, and loss_before,
    at the end of a round of half the length.
    """
    late, before = windows(rows)
    if not before:
        return Verdict(False, {}, "the run is too short to say whether it has converged: train for more epochs")
    fall = mean(before, "loss") - mean(late, "loss")
    error = math.hypot(standard_error(before), standard_error(late))
    end, _ = windows(rows, AT_THE_END)
    pulls = {name: mean(end, name) for name in rows[-1] if "_pull" in name}
    reasons = [*of_scales(pulls), *of_means(pulls)]
    # Of a loss without a KL the prior's part is nearly constant, and large.
    small = max(MOST_FALL * abs(mean(late, "loss" if "kl" in rows[-1] else "nll")), SMALL_FALL)
    if fall > max(small, NOISE * error):
        reasons.append(f"the loss still fell by {fall:.3g} nats per example over the last tenth of training")
    ahead, its_error = fall_of_doubling(rows)
    if ahead > max(small, NOISE * its_error):
        reasons.append(f"twice as many epochs would lower the loss by about {ahead:.3g} nats per example")
    fall_of_round = found.get("loss_before", -math.inf) - mean(end, "loss")
    if fall_of_round > small:
        reasons.append(f"the last doubling of training lowered the loss by {fall_of_round:.3g} nats per example")
    if (drift := found.get("moments_drift", 0.0)) > MOST_DRIFT:
        reasons.append(f"the collected weights still move in one direction (drift {drift:.2g}; 1 if they do not)")
    why = [f"not converged: {'; '.join(reasons)}: train for more epochs, say twice as many"] if reasons else []
    if (missing := found.get("missing_spread", 0.0)) > MOST_MISSING:
        shown = f"{1 - missing:.0%} of the epistemic uncertainty of many"
        why.append(f"so few members show only about {shown}: raise --num_particles")
    parts: dict[str, float | None] = {"loss_fall": fall, "loss_fall_error": error, "loss_fall_of_doubling": ahead}
    parts |= {**pulls, **found}
    return Verdict(not reasons, parts, "\n".join(why))


def fall_of_doubling(rows: Sequence[Row]) -> tuple[float, float]:
    """Return by how much twice as many steps would lower the loss, as the second half of the log has it, and its error.

    The loss is taken as linear in the logarithm of the steps (least squares). 0 where the learning rate changes, which
    lowers the loss by itself, and for fewer than FEWEST_ROWS rows.
    """
    half, _ = windows(rows, 0.5)
    rates = {row.get("learning_rate") for row in half}
    if len(half) < FEWEST_ROWS or len(rates) > 1:
        return 0.0, 0.0
    x = np.log([row["step"] for row in half])
    y = np.array([row["loss"] for row in half])
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred)
    residuals = y - y.mean() - slope * centred
    error = math.sqrt(residuals @ residuals / (len(half) - 2) / (centred @ centred))
    return float(-slope * math.log(2)), float(error * math.log(2))


def final_loss(rows: Sequence[Row]) -> float:
    """Return the mean loss at the end of training; NaN without rows."""
    return mean(windows(rows, AT_THE_END)[0], "loss") if rows else math.nan


def of_scales(pulls: Mapping[str, float]) -> list[str]:
    """Return what is still wrong with the standard deviations: of all weights on average, else of one kernel."""
    kernels = {name.partition("/")[2]: pull for name, pull in pulls.items() if name.startswith("scale_pull/")}
    where, pull, most = "on average", pulls.get("scale_pull", 0.0), MOST_PULL
    if abs(pull) <= most and kernels:
        kernel, pull = max(kernels.items(), key=lambda item: abs(item[1]))
        where, most = f"in {kernel}", MOST_KERNEL_PULL
    if abs(pull) <= most:
        return []
    # A Newton step of the log of a standard deviation is half of the pull.
    wrong, uncertainty = ("narrow", "rise") if pull < 0 else ("wide", "fall")
    percent = f"{math.expm1(abs(pull) / 2):.0%}"
    return [
        f"the standard deviations are still {percent} too {wrong} {where}, and epistemic uncertainty will {uncertainty}"
    ]


def of_means(pulls: Mapping[str, float]) -> list[str]:
    """Return what is still wrong with the means of the weights."""
    pull = pulls.get("mean_pull", 0.0)
    return [f"the means of the weights still {'grow' if pull < 0 else 'shrink'}"] if abs(pull) > MOST_PULL else []


def of_chains(diagnostics: Mapping[str, Any]) -> Verdict:
    """Return the verdict on the chains of hmc, from the R-hat of their log posterior, and of their predictions."""
    found = {
        name: diagnostics.get(name, {}).get(key)
        for name, key in (("log_posterior", "r_hat"), ("predictions", "r_hat_median"))
        if name in diagnostics
    }
    parts = {f"r_hat_of_{name}": value for name, value in found.items()}
    if not parts or any(value is None for value in parts.values()):
        return Verdict(False, parts, "not converged: too few draws to compare the chains: make more --steps")
    worst = max(value for value in parts.values() if value is not None)
    if worst > MOST_R_HAT:
        why = f"not converged: the chains differ (R-hat {worst:.3g}, above {MOST_R_HAT}): make more --steps"
        return Verdict(False, parts, why)
    return Verdict(True, parts, "")


def windows(rows: Sequence[Row], part: float = WINDOW) -> tuple[list[Row], list[Row]]:
    """Return the rows that begin in the last `part` of the steps, at least the last one, and those of the one before.

    The second is empty where there are too few rows.
    """
    ends = np.array([row["step"] for row in rows])
    starts = np.concatenate([[0], ends[:-1]])
    length = part * ends[-1]
    first = min(int(np.searchsorted(starts, ends[-1] - length)), len(rows) - 1)
    before = int(np.searchsorted(starts, starts[first] - length))
    return list(rows[first:]), list(rows[min(before, max(0, first - 1)) : first])


def mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def standard_error(rows: Sequence[Row]) -> float:
    """Return the standard error of the mean loss of some rows, 0 for one row."""
    return float(np.std([row["loss"] for row in rows], ddof=1) / math.sqrt(len(rows))) if len(rows) > 1 else 0.0
