"""Which weights to prune. Arithmetic only. Legend: P parameters, of which the first B have a scale.

A kernel is an index array into theta. Only kernels are pruned: biases are few, and to prune one removes no unit.
"""

from collections.abc import Sequence

import numpy as np

CRITERIA = ("snr", "magnitude")


def scores(criterion: str, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the scores of the weights, [..., P]; the weights with the smallest scores are pruned first.

    magnitude: |loc|. snr: |loc| / scale (Blundell et al. 2015, section 5.1); weights without a scale have |loc|, which
    can't be compared with the scores of the others.
    """
    magnitude = np.abs(loc)
    if criterion == "snr":
        magnitude[..., : scale.shape[-1]] /= scale
    return magnitude


def groups(kernels: Sequence[np.ndarray], num_scales: int, scope: str) -> list[np.ndarray]:
    """Return the groups of weights; each group loses the same fraction.

    layer: each kernel is a group. global: all kernels are one group. If some kernels have scales, the group has only
    these: the scores of the others can't be compared with theirs.
    """
    if scope == "layer":
        return list(kernels)
    with_scales = [kernel for kernel in kernels if kernel[-1] < num_scales]
    return [np.concatenate(with_scales or kernels)]


def smallest(score_P: np.ndarray, groups: Sequence[np.ndarray], fraction: float) -> np.ndarray:
    """Return which weights to prune, [..., P] bool: the fraction of each group that has the smallest scores."""
    pruned_P = np.zeros(score_P.shape, bool)
    for group in groups:
        ordered = np.argsort(score_P[..., group], axis=-1, kind="stable")
        first = group[ordered[..., : round(fraction * len(group))]]
        np.put_along_axis(pruned_P, first, True, axis=-1)
    return pruned_P
