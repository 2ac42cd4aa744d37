"""Scores, calibration and uncertainty of predictions of a real target; numpy and scipy only.

Every draw predicts a Normal; the prediction is the mixture of these with equal weights (of a target with several
columns, each draw predicts a mixture itself: metrics/normal_mixtures.py). Its variance is the sum of two
parts (law of total variance): aleatoric, the mean of the draws' variances, which is noise in the data, and epistemic,
the variance of their means, which is disagreement between the draws. In the units of the target.

Shapes: S draws, N examples, Q quantiles. Everything is computed in float64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

LEVELS = (0.5, 0.68, 0.9, 0.95)
MAX_SHIFTS = 150  # in `crps`: with up to 301 draws, all pairs of draws are used
PRECISION, MOST_STEPS = 1e-12, 200  # of `quantiles`: relative to the width of the mixture; bisection alone takes 40
CHUNK_VALUES = 1 << 15  # float64 values at once: a few arrays of them fit into a core's cache


class Mixture(NamedTuple):
    """A mixture of Normals, one Normal per draw: their means, standard deviations and weights, by default equal."""

    mean_SN: np.ndarray
    scale_SN: np.ndarray
    weight_SN: np.ndarray | None = None

    def weights(self) -> np.ndarray:
        """Return the weights [S, N]; they add up to 1 over S."""
        if self.weight_SN is not None:
            return np.asarray(self.weight_SN, np.float64)
        return np.full(np.shape(self.mean_SN), 1 / len(self.mean_SN))

    def part(self, at: slice) -> "Mixture":
        """Return the mixtures of some examples, in float64."""
        mean, scale = (np.asarray(part[:, at], np.float64) for part in (self.mean_SN, self.scale_SN))
        return Mixture(mean, scale, self.weights()[:, at])


def moments(draws: Mixture) -> dict[str, np.ndarray]:
    """Return the mean of the mixture and its aleatoric, epistemic and total standard deviation, by name, each [N].

    draws: with equal weights, one Normal per draw.
    """
    mean_SN, scale_SN = (np.asarray(part, np.float64) for part in (draws.mean_SN, draws.scale_SN))
    aleatoric_N, epistemic_N = np.mean(scale_SN**2, axis=0), np.var(mean_SN, axis=0)
    return {
        "mean_N": mean_SN.mean(axis=0), "aleatoric_std_N": np.sqrt(aleatoric_N),
        "epistemic_std_N": np.sqrt(epistemic_N), "total_std_N": np.sqrt(aleatoric_N + epistemic_N),
    }  # fmt: skip


def rmse(mean_N: np.ndarray, y_N: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.asarray(mean_N, np.float64) - y_N) ** 2)))


def nll(draws: Mixture, y_N: np.ndarray) -> np.ndarray:
    """Return the negative log density of the mixture [N], in nats."""
    z_SN = (y_N - np.asarray(draws.mean_SN, np.float64)) / draws.scale_SN
    log_density_SN = -0.5 * z_SN**2 - np.log(draws.scale_SN) - 0.5 * np.log(2 * np.pi)
    return -special.logsumexp(log_density_SN, axis=0, b=draws.weights())


def pit(draws: Mixture, y_N: np.ndarray) -> np.ndarray:
    """Return the mixture's distribution function at y [N]: uniform on [0, 1] if predictions are calibrated."""
    below_SN = special.ndtr((y_N - np.asarray(draws.mean_SN, np.float64)) / draws.scale_SN)
    return np.sum(draws.weights() * below_SN, axis=0)


def quantiles(draws: Mixture, levels_Q: Sequence[float]) -> np.ndarray:
    """Return the quantiles of the mixture [Q, N], where its distribution function is a level in [0, 1].

    The quantiles at 0 and 1 are not finite.
    """
    num_draws, num_examples = np.shape(draws.mean_SN)
    chunk = max(1, CHUNK_VALUES // num_draws)
    found_QN = np.zeros([len(levels_Q), num_examples])
    for start in range(0, num_examples, chunk):
        part = slice(start, start + chunk)
        for row, level in zip(found_QN, levels_Q, strict=True):
            row[part] = _quantile(draws.part(part), level)
    return found_QN


def _quantile(draws: Mixture, level: float) -> np.ndarray:
    """Return one quantile of the mixture [N], by Newton's method.

    It is between the smallest and the largest quantile of the draws. A step that leaves that interval, or is not below
    half of the step before, is replaced by bisection.
    """
    mean_SN, scale_SN, weight_SN = draws.mean_SN, draws.scale_SN, draws.weights()
    if level in (0, 1):
        return np.full(mean_SN.shape[1], np.inf if level else -np.inf)
    each_SN = mean_SN + scale_SN * special.ndtri(level)
    low_N, high_N = each_SN.min(axis=0), each_SN.max(axis=0)
    enough_N = PRECISION * (high_N - low_N + scale_SN.min(axis=0))
    y_N, last_N = (low_N + high_N) / 2, high_N - low_N
    for _ in range(MOST_STEPS):
        z_SN = (y_N - mean_SN) / scale_SN
        excess_N = np.sum(weight_SN * special.ndtr(z_SN), axis=0) - level
        density_N = np.sum(weight_SN * np.exp(-0.5 * z_SN**2) / scale_SN, axis=0) / np.sqrt(2 * np.pi)
        low_N, high_N = np.where(excess_N < 0, y_N, low_N), np.where(excess_N < 0, high_N, y_N)
        newton_N = y_N - excess_N / np.maximum(density_N, np.finfo(float).tiny)
        good_N = (low_N < newton_N) & (newton_N < high_N) & (np.abs(newton_N - y_N) <= last_N / 2)
        next_N = np.where(good_N, newton_N, (low_N + high_N) / 2)
        step_N = np.where(last_N > enough_N, next_N - y_N, 0.0)
        y_N, last_N = y_N + step_N, np.abs(step_N)
        if (last_N <= enough_N).all():
            break
    return y_N


def crps(draws: Mixture, y_N: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score [N], in units of the target (Grimit et al. 2006, eq. 5).

    It is E|Y - y| - E|Y - Y'| / 2 with independent Y, Y' from the mixture; both terms are means of E|Normal|.
    """
    chunk = max(1, CHUNK_VALUES // len(draws.mean_SN))
    score_N = np.zeros(len(y_N))
    for start in range(0, len(y_N), chunk):
        part = slice(start, start + chunk)
        some = draws.part(part)
        from_y = _expected_size(y_N[part] - some.mean_SN, some.scale_SN**2)
        score_N[part] = np.sum(some.weights() * from_y, axis=0) - _between(some) / 2
    return score_N


def _between(some: Mixture) -> np.ndarray:
    """Return E|Y - Y'| of two independent values of the mixture [N].

    Shift k pairs each draw s with draw s + k. Pairs have no order, so half of the shifts give all pairs. With many
    draws, MAX_SHIFTS random shifts give an unbiased estimate of the mean over pairs of different draws.
    """
    mean_SN, variance_SN, weight_SN = some.mean_SN, some.scale_SN**2, some.weights()
    draws = len(mean_SN)
    itself = np.sum(weight_SN**2 * _expected_size(np.zeros_like(mean_SN), 2 * variance_SN), axis=0)
    if draws == 1:
        return itself
    shifts = 1 + np.random.default_rng(0).permutation(draws // 2)[:MAX_SHIFTS]
    weights = np.where(2 * shifts == draws, 1, 2)  # a shift by half the draws gives each pair twice
    others = np.zeros_like(itself)
    for shift, weight in zip(shifts, weights / weights.sum(), strict=True):
        mean, variance, pair_weight = (np.roll(part, shift, axis=0) for part in (mean_SN, variance_SN, weight_SN))
        sizes = _expected_size(mean_SN - mean, variance_SN + variance)
        others += weight * np.sum(weight_SN * pair_weight * sizes, axis=0)
    return itself + (draws - 1) * others


def coverage(pit_N: np.ndarray, level: float) -> float:
    """Return the fraction of targets within the central interval of probability `level`."""
    return float(np.mean(np.abs(pit_N - 0.5) <= level / 2))


def two_sigma_coverage(found: dict[str, np.ndarray], y_N: np.ndarray) -> float:
    """Return the fraction of targets within two total standard deviations of the mean."""
    return float(np.mean(np.abs(y_N - found["mean_N"]) <= 2 * found["total_std_N"]))


def calibration(pit_N: np.ndarray, expected_Q: np.ndarray) -> np.ndarray:
    """Return the fraction of targets below each predicted quantile [Q] (Kuleshov et al. 2018)."""
    return np.mean(pit_N[:, None] <= expected_Q, axis=0)


def calibration_error(pit_N: np.ndarray) -> float:
    """Return the mean |observed - expected| fraction of `calibration`, over the 99 percentiles."""
    expected_Q = np.arange(1, 100) / 100
    return float(np.mean(np.abs(calibration(pit_N, expected_Q) - expected_Q)))


def score_examples(draws: Mixture, y_N: np.ndarray) -> dict[str, np.ndarray]:
    """Return the moments and scores of each example, by name, each [N]; blocks of examples can be concatenated."""
    return moments(draws) | {"pit_N": pit(draws, y_N), "nll_N": nll(draws, y_N), "crps_N": crps(draws, y_N)}


def summary(found: dict[str, np.ndarray], y_N: np.ndarray) -> dict[str, float]:
    """Return the scores that every evaluation reports, by name, from the output of `score_examples`."""
    pit_N = found["pit_N"]
    return {
        "rmse": rmse(found["mean_N"], y_N), "nll": float(found["nll_N"].mean()), "crps": float(found["crps_N"].mean()),
        "calibration_error": calibration_error(pit_N), "two_sigma_coverage": two_sigma_coverage(found, y_N),
        **{f"coverage_{round(100 * level)}": coverage(pit_N, level) for level in LEVELS},
    }  # fmt: skip


def _expected_size(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return E|X| of X ~ N(mean, variance)."""
    scale = np.sqrt(variance)
    z = mean / np.maximum(scale, np.finfo(float).tiny)
    return mean * (2 * special.ndtr(z) - 1) + 2 * scale * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
