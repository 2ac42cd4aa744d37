"""The Pareto k-hat: how heavy the tail of importance ratios p(w) / q(w) is; numpy only.

If it is k, the ratios have about 1/k moments. Yao, Vehtari, Simpson & Gelman (2018) take it for a distance of an
approximate posterior q from the posterior p, with the thresholds of Vehtari, Simpson, Gelman, Yao & Gabry (2024).
"""

import numpy as np

FEWEST_DRAWS = 25  # with fewer, there are fewer than 5 draws in the tail
PRIOR_K, PRIOR_COUNT = 0.5, 10  # k-hat is shrunk as if so many more draws had this k (Vehtari et al. 2024, appendix G)
MEANINGS = (  # (k-hat below, what it means)
    (0.5, "good: the approximation is close to the joint posterior of these weights"),
    (0.7, "usable: importance weights can still correct the approximation, slowly"),
    (np.inf, "poor: far from the joint posterior of these weights; --reference says how far the predictions are"),
)


def k_hat(log_ratios_S: np.ndarray) -> float:
    """Return the shape of the generalised Pareto distribution of the largest ratios, from their logarithms.

    The tail has min(S / 5, 3 sqrt(S)) of the S draws. It is -inf if all ratios are equal, and NaN if one is not a
    number, or for fewer than FEWEST_DRAWS.
    """
    count = len(log_ratios_S)
    if count < FEWEST_DRAWS or np.isnan(log_ratios_S).any() or not np.isfinite(log_ratios_S.max()):
        return float("nan")
    tail = int(min(count / 5, 3 * np.sqrt(count)))
    logs_S = np.sort(log_ratios_S.astype(np.float64))
    logs_S = np.maximum(logs_S - logs_S[-1], np.log(np.finfo(float).tiny))  # ratios to the largest one
    excess_T = np.exp(logs_S[-tail:]) - np.exp(logs_S[-tail - 1])
    if excess_T[-1] == 0:
        return float("-inf")
    return (tail * shape(excess_T) + PRIOR_COUNT * PRIOR_K) / (tail + PRIOR_COUNT)


def shape(excess_T: np.ndarray) -> float:
    """Return the shape k of a generalised Pareto distribution from T sorted values (Zhang & Stephens 2009).

    The density is (1 + k x / s)^(-1 / k - 1) / s. With b = -k / s, the likelihood is largest at k(b) = mean of
    log(1 - b x), and b is the mean of a quasi-posterior over a grid. The maximum likelihood fit of scipy misses a k
    of 5 and more.
    """
    count, quartile, largest = len(excess_T), excess_T[int(len(excess_T) / 4 + 0.5) - 1], excess_T[-1]
    grid = np.arange(1, 31 + int(np.sqrt(count))) - 0.5
    b_G = 1 / largest + (1 - np.sqrt(len(grid) / grid)) / (3 * max(quartile, np.finfo(float).tiny))
    k_G = np.log1p(-b_G[:, None] * excess_T).mean(1)
    log_likelihood_G = count * (np.log(-b_G / k_G) - k_G - 1)
    weight_G = np.exp(log_likelihood_G - log_likelihood_G.max())
    return float(np.log1p(-np.average(b_G, weights=weight_G) * excess_T).mean())


def meaning(k: float) -> str:
    """Return what a k-hat means, in words."""
    if np.isnan(k):
        return "not defined: the density of a draw is not finite, or there are too few draws"
    return next(words for below, words in MEANINGS if k < below)
