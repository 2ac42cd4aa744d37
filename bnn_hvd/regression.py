"""How good, how well calibrated and how sure predictions of a real target are; numpy only.

Every draw predicts a Normal; the prediction is their equal mixture. Its variance is the sum of two parts
(law of total variance): aleatoric, the mean of the draws' variances, which is noise in the data, and
epistemic, the variance of their means, which is the model not knowing. In the units of the target.

Shapes: S draws, N examples, Q quantiles. Everything is computed in float64.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

LEVELS = (0.5, 0.68, 0.9, 0.95)
MAX_CRPS_DRAWS = 64  # it takes all pairs of draws; of more, these many are evenly picked
CHUNK_VALUES = 1 << 22


class Mixture(NamedTuple):
    """What the draws predict: the means and standard deviations of Normals."""

    mean_SN: np.ndarray
    scale_SN: np.ndarray


def moments(draws: Mixture) -> dict[str, np.ndarray]:
    """Return the mean of the mixture, and the standard deviations of both parts and in total, by name, each [N]."""
    mean_SN, scale_SN = (np.asarray(part, np.float64) for part in draws)
    aleatoric_N, epistemic_N = np.mean(scale_SN**2, axis=0), np.var(mean_SN, axis=0)
    return {
        "mean_N": mean_SN.mean(axis=0), "aleatoric_std_N": np.sqrt(aleatoric_N),
        "epistemic_std_N": np.sqrt(epistemic_N), "total_std_N": np.sqrt(aleatoric_N + epistemic_N),
    }  # fmt: skip


def rmse(mean_N: np.ndarray, y_N: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.asarray(mean_N, np.float64) - y_N) ** 2)))


def nll(draws: Mixture, y_N: np.ndarray) -> float:
    """Return the mean negative log density of the mixture, in nats per example."""
    z_SN = (y_N - np.asarray(draws.mean_SN, np.float64)) / draws.scale_SN
    log_density_SN = -0.5 * z_SN**2 - np.log(draws.scale_SN) - 0.5 * np.log(2 * np.pi)
    return float(-np.mean(special.logsumexp(log_density_SN, axis=0) - np.log(len(z_SN))))


def pit(draws: Mixture, y_N: np.ndarray) -> np.ndarray:
    """Return the mixture's distribution function at y [N]: uniform on [0, 1] if predictions are calibrated."""
    return np.mean(special.ndtr((y_N - np.asarray(draws.mean_SN, np.float64)) / draws.scale_SN), axis=0)


def crps(draws: Mixture, y_N: np.ndarray) -> float:
    """Return the mean continuous ranked probability score, in units of the target (Grimit et al. 2006, eq. 5).

    E|Y - y| - E|Y - Y'| / 2 with Y, Y' of the mixture; both are sums of E|Normal|.
    """
    picked = np.linspace(0, len(draws.mean_SN) - 1, min(len(draws.mean_SN), MAX_CRPS_DRAWS)).round().astype(int)
    mean_SN, scale_SN = (np.asarray(part, np.float64)[picked] for part in draws)
    chunk, total = max(1, CHUNK_VALUES // len(picked) ** 2), 0.0
    for start in range(0, len(y_N), chunk):
        part = slice(start, start + chunk)
        mean, variance = mean_SN[:, part], scale_SN[:, part] ** 2
        between = _expected_size(mean[:, None] - mean, variance[:, None] + variance).mean(axis=(0, 1))
        total += np.sum(_expected_size(y_N[part] - mean, variance).mean(axis=0) - between / 2)
    return float(total / len(y_N))


def coverage(pit_N: np.ndarray, level: float) -> float:
    """Return the fraction of targets within the central interval that should hold `level` of them."""
    return float(np.mean(np.abs(pit_N - 0.5) <= level / 2))


def two_sigma_coverage(found: dict[str, np.ndarray], y_N: np.ndarray) -> float:
    """Return the fraction of targets within two total standard deviations of the mean."""
    return float(np.mean(np.abs(y_N - found["mean_N"]) <= 2 * found["total_std_N"]))


def calibration(pit_N: np.ndarray, expected_Q: np.ndarray) -> np.ndarray:
    """Return the fraction of targets below each predicted quantile [Q] (Kuleshov et al. 2018)."""
    return np.mean(pit_N[:, None] <= expected_Q, axis=0)


def calibration_error(pit_N: np.ndarray) -> float:
    """Return the mean distance of `calibration` from what it should be, over the 99 percentiles."""
    expected_Q = np.arange(1, 100) / 100
    return float(np.mean(np.abs(calibration(pit_N, expected_Q) - expected_Q)))


def summary(draws: Mixture, y_N: np.ndarray) -> dict[str, float]:
    """Return what every evaluation reports."""
    found, pit_N = moments(draws), pit(draws, y_N)
    return {
        "rmse": rmse(found["mean_N"], y_N), "nll": nll(draws, y_N), "crps": crps(draws, y_N),
        "calibration_error": calibration_error(pit_N), "two_sigma_coverage": two_sigma_coverage(found, y_N),
        **{f"coverage_{round(100 * level)}": coverage(pit_N, level) for level in LEVELS},
    }  # fmt: skip


def _expected_size(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return E|X| of X ~ N(mean, variance)."""
    scale = np.sqrt(variance)
    z = mean / np.maximum(scale, np.finfo(float).tiny)
    return mean * (2 * special.ndtr(z) - 1) + 2 * scale * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
