"""Which weights to prune: arithmetic only. Legend: P parameters, B of them (the first) with a scale, M members.

A kernel is an index array into theta. Biases, and what belongs to no layer, are never pruned: there are few,
and a unit without its bias is not smaller.
"""

from collections.abc import Sequence

import numpy as np

CRITERIA = ("snr", "magnitude")


def scores(criterion: str, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return what the weights are ranked by, the smallest to be pruned first: [..., P].

    snr: |loc| / scale (Blundell et al. 2015, section 5.1); a weight without a scale keeps its magnitude, and is
    comparable with others of its kind only.
    """
    magnitude = np.abs(loc)
    if criterion == "snr":
        magnitude[..., : scale.shape[-1]] /= scale
    return magnitude


def groups(kernels: Sequence[np.ndarray], num_scales: int, scope: str) -> list[np.ndarray]:
    """Return the sets of weights that lose the same fraction.

    layer: each kernel by itself. global: all kernels together, of those that have scales if any does: there is no
    signal-to-noise ratio that a weight without noise could be ranked by.
    """
    if scope == "layer":
        return list(kernels)
    with_scales = [kernel for kernel in kernels if kernel[-1] < num_scales]
    return [np.concatenate(with_scales or kernels)]


def smallest(score_P: np.ndarray, groups: Sequence[np.ndarray], fraction: float) -> np.ndarray:
    """Return whether to prune each weight, [..., P] bool: of each group the fraction with the smallest scores."""
    pruned_P = np.zeros(score_P.shape, bool)
    for group in groups:
        ordered = np.argsort(score_P[..., group], axis=-1, kind="stable")
        first = group[ordered[..., : round(fraction * len(group))]]
        np.put_along_axis(pruned_P, first, True, axis=-1)
    return pruned_P
