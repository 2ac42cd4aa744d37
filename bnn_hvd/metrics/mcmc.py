"""Convergence and effective sample size of Markov chains; numpy and scipy only.

R-hat is rank-normalised and split; effective sample sizes are those of the bulk and of the tails (Vehtari, Gelman,
Simpson, Carpenter & Bürkner 2021). Each takes any number of draws, and is NaN for fewer than FEWEST of each chain, for
draws that are not finite, and where all draws are equal.
Legend: M chains, N draws of each; x_MN is one quantity.
"""

import numpy as np
from scipy import fft, special, stats

TAIL = 0.05
FEWEST = 4  # draws of a chain, before it is split


def r_hat(x_MN: np.ndarray) -> float:
    """Return the larger of the R-hats of location and spread: 1 if the chains agree."""
    halves = split(x_MN)
    if not _enough(halves):
        return float("nan")
    folded = np.abs(halves - np.median(halves))
    return max(plain_r_hat(normal_scores(halves)), plain_r_hat(normal_scores(folded)))


def bulk_ess(x_MN: np.ndarray) -> float:
    """Return the effective sample size in the bulk: independent draws that estimate the centre equally well."""
    halves = split(x_MN)
    return ess(normal_scores(halves), halve=False) if _enough(halves) else float("nan")


def tail_ess(x_MN: np.ndarray) -> float:
    """Return the smaller of the effective sample sizes of the 5 % and the 95 % quantile."""
    halves = split(x_MN)
    if not _enough(halves):
        return float("nan")
    return min(ess((halves <= np.quantile(halves, q)).astype(float), halve=False) for q in (TAIL, 1 - TAIL))


def split(x_MN: np.ndarray) -> np.ndarray:
    """Return the halves of each chain as chains [2 M, N // 2]: a chain that drifts then raises R-hat."""
    half = x_MN.shape[1] // 2
    return np.concatenate([x_MN[:, :half], x_MN[:, x_MN.shape[1] - half :]]).astype(np.float64)


def _enough(halves: np.ndarray) -> bool:
    """Return whether the halves of the chains have a variance each, and finite values."""
    return halves.shape[1] >= FEWEST // 2 and bool(np.isfinite(halves).all())


def normal_scores(x_MN: np.ndarray) -> np.ndarray:
    """Return the standard normal quantiles of the ranks over all chains (Blom 1958); ties have their mean rank."""
    ranks = stats.rankdata(x_MN).reshape(x_MN.shape)
    return special.ndtri((ranks - 0.375) / (x_MN.size + 0.25))


def plain_r_hat(x_MN: np.ndarray) -> float:
    """Return sqrt of (variance of all draws, estimated from within and between chains) / (variance within)."""
    if not _enough(x_MN):
        return float("nan")
    within, total = _variances(x_MN)
    return float(np.sqrt(total / within)) if within > 0 else float("nan")


def ess(x_MN: np.ndarray, halve: bool = True) -> float:
    """Return M N / (1 + 2 sum of autocorrelations), summed by Geyer's (1992) initial monotone sequence.

    halve: split the chains first.
    """
    x_MN = split(x_MN) if halve else x_MN
    chains, count = x_MN.shape
    if not _enough(x_MN):
        return float("nan")
    within, total = _variances(x_MN)
    if not total > 0:
        return float("nan")
    rho = 1 - (within - _autocovariance(x_MN).mean(0) * count / (count - 1)) / total
    rho[0] = 1.0
    pairs = rho[: count // 2 * 2].reshape(-1, 2).sum(1)
    positive = pairs[: np.argmax(pairs < 0)] if (pairs < 0).any() else pairs
    tau = -1 + 2 * np.minimum.accumulate(positive).sum()
    return float(chains * count / max(tau, 1 / np.log10(chains * count)))


def _variances(x_MN: np.ndarray) -> tuple[float, float]:
    """Return the mean variance within chains, and the estimate of the variance of all draws that R-hat uses."""
    count = x_MN.shape[1]
    within = x_MN.var(1, ddof=1).mean()
    between = x_MN.mean(1).var(ddof=1) if len(x_MN) > 1 else 0.0
    return within, within * (count - 1) / count + between


def _autocovariance(x_MN: np.ndarray) -> np.ndarray:
    """Return the autocovariances at lags 0..N-1 of each chain, divided by N."""
    count = x_MN.shape[1]
    size = fft.next_fast_len(2 * count)
    transform = fft.rfft(x_MN - x_MN.mean(1, keepdims=True), size, axis=1)
    return fft.irfft(np.abs(transform) ** 2, size, axis=1)[:, :count] / count
