"""The choice of the weights that are pruned is compared with cases by hand."""

import numpy as np
import pytest

from bnn_hvd.errors import UserError
from bnn_hvd.studies.pruning import masks
from bnn_hvd.studies.pruning.command import parse_fractions

# Two kernels with scales (entries 0 to 3 and 4 to 5), one without (6 to 9), and a bias (10), which is in no kernel.
KERNELS = [np.arange(0, 4), np.arange(4, 6), np.arange(6, 10)]
LOC = np.array([1.0, -2.0, 3.0, -4.0, 0.5, 0.6, 9.0, -8.0, 7.0, -6.0, 0.0])
SCALE = np.array([0.1, 1.0, 3.0, 1.0, 0.001, 0.5])
SNR = [10, 2, 1, 4, 500, 1.2]


def pruned(criterion: str, scope: str, fraction: float, loc=LOC) -> list:
    score_P = masks.scores(criterion, loc, SCALE)
    mask = masks.smallest(score_P, masks.groups(KERNELS, len(SCALE), scope), fraction)
    return [np.flatnonzero(row).tolist() for row in np.atleast_2d(mask)]


def test_scores():
    np.testing.assert_allclose(masks.scores("snr", LOC, SCALE)[:6], SNR)
    assert masks.scores("snr", LOC, SCALE)[6:].tolist() == [9, 8, 7, 6, 0]
    assert masks.scores("magnitude", LOC, SCALE).tolist() == np.abs(LOC).tolist()


@pytest.mark.parametrize(
    ("criterion", "scope", "fraction", "expected"),
    [
        ("snr", "layer", 0.5, [1, 2, 5, 8, 9]),
        ("magnitude", "layer", 0.5, [0, 1, 4, 8, 9]),
        ("snr", "global", 0.5, [1, 2, 5]),  # weights without a scale have no ratio, and are kept
        ("magnitude", "global", 0.5, [0, 4, 5]),
        ("snr", "layer", 0.0, []),
    ],
)
def test_the_smallest_of_each_group_go(criterion, scope, fraction, expected):
    assert pruned(criterion, scope, fraction) == [expected]


def test_without_scales_global_takes_all_kernels():
    groups = masks.groups(KERNELS, 0, "global")
    assert len(groups) == 1
    assert groups[0].tolist() == list(range(10))


def test_members_are_ranked_each_by_itself():
    loc = np.stack([LOC, LOC[::-1]])
    groups = masks.groups(KERNELS[:1], 0, "layer")
    mask = masks.smallest(masks.scores("magnitude", loc, np.zeros([2, 0])), groups, 0.5)
    assert [np.flatnonzero(row).tolist() for row in mask] == [[0, 1], [0, 1]]  # sizes: 1, 2, 3, 4 and 0, 6, 7, 8


def test_fractions_begin_with_nothing_pruned():
    assert parse_fractions("0.9, 0.5") == [0.0, 0.5, 0.9]
    for text in ("1", "half", "-0.1"):
        with pytest.raises(UserError, match=r"--fractions=.* must be numbers"):
            parse_fractions(text)
