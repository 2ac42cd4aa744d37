"""Has training converged? A verdict on a finished run, from its log, and for `hmc` from its chains.

The quantities, and what they are at an optimum, are in docs/maths.md. The bounds were chosen in docs/log.md.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

WINDOW = 0.1  # part of training, at its end, that is judged, and compared with the part of that length before it
AT_THE_END = 0.05  # part of training over which the pulls are averaged
MOST_PULL = 0.1  # nats per weight
MOST_FALL = 0.05  # of the loss, relative
SMALL_FALL = 1e-3  # of the loss, nats per example
NOISE = 3.0  # standard errors
MOST_R_HAT = 1.05

Row = dict[str, Any]


class Verdict(NamedTuple):
    """converged: None where the method says nothing of it. parts: the numbers it was made of. why: a line for the
    user, "" for a run that has converged."""

    converged: bool | None
    parts: dict[str, float | None]
    why: str


def judge(method: str, rows: Sequence[Row], diagnostics: dict[str, Any]) -> Verdict:
    """Return the verdict on a finished run of a method.

    rows: of training, in metrics.jsonl. diagnostics: the content of diagnostics.json, {} without.
    """
    if method == "hmc":
        return of_chains(diagnostics)
    if method == "laplace":
        return Verdict(None, {}, "laplace: see the point run that it was fitted to")
    return of_descent(rows)


def of_descent(rows: Sequence[Row]) -> Verdict:
    """Return the verdict on a method that descends a loss; with scales (vi, ivon), also on these.

    rows: of training, in order, each the mean since the one before: step, loss and, with scales, scale_pull, mean_pull.
    """
    late, before = windows(rows)
    if not before:
        return Verdict(False, {}, "the run is too short to say whether it has converged: train for more epochs")
    fall = mean(before, "loss") - mean(late, "loss")
    error = math.hypot(standard_error(before), standard_error(late))
    parts: dict[str, float | None] = {"loss_fall": fall, "loss_fall_error": error}
    reasons = []
    if "scale_pull" in rows[-1]:
        end, _ = windows(rows, AT_THE_END)
        scale_pull, mean_pull = mean(end, "scale_pull"), mean(end, "mean_pull")
        parts |= {"scale_pull": scale_pull, "mean_pull": mean_pull}
        if abs(scale_pull) > MOST_PULL:
            # A Newton step of the log of a standard deviation is half of the pull.
            wrong, uncertainty = ("narrow", "rise") if scale_pull < 0 else ("wide", "fall")
            reasons.append(
                f"the standard deviations are still {math.expm1(abs(scale_pull) / 2):.0%} too {wrong} on average, and "
                f"the epistemic uncertainty will {uncertainty}"
            )
        if abs(mean_pull) > MOST_PULL:
            reasons.append(f"the means of the weights still {'grow' if mean_pull < 0 else 'shrink'}")
    if fall > max(MOST_FALL * abs(mean(late, "loss")), SMALL_FALL, NOISE * error):
        reasons.append(f"the loss still fell by {fall:.3g} nats per example over the last tenth of training")
    if not reasons:
        return Verdict(True, parts, "")
    return Verdict(False, parts, f"not converged: {'; '.join(reasons)}: train for more epochs, say twice as many")


def of_chains(diagnostics: dict[str, Any]) -> Verdict:
    """Return the verdict on the chains of hmc, from the R-hat of their log posterior, and of their outputs if known."""
    found = {
        name: diagnostics.get(name, {}).get(key)
        for name, key in (("log_posterior", "r_hat"), ("outputs", "r_hat_median"))
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
