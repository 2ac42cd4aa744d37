"""The measures of churn are compared with values computed by hand."""

import numpy as np
import pytest

from bnn_hvd.studies.churn import measures

TRUTH = np.array([0, 1, 2, 0])
LABELS = np.array([[0, 1, 2, 0], [0, 1, 1, 0], [0, 2, 0, 0]])  # 3 replicas: 4, 3 and 2 of 4 are right


def test_churn_and_disagreement():
    assert measures.differing(LABELS).tolist() == [False, True, True, False]
    assert measures.churn(LABELS) == 0.5
    # the three pairs differ on 1, 2 and 2 of 4 examples
    assert measures.pairwise_disagreement(LABELS) == pytest.approx(5 / 12)
    assert measures.churn(LABELS[:1]) == 0


def test_agreement():
    found = measures.agreement(LABELS, TRUTH)
    assert found["accuracy"] == [1.0, 0.75, 0.5]
    assert found["accuracy_spread"] == 0.5
    assert found["churn_per_error"] == pytest.approx(0.5 / 0.25)
    assert found["accuracy_where_differing"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert found["accuracy_elsewhere"] == 1.0


def test_what_would_divide_by_zero_is_none():
    found = measures.agreement(np.stack([TRUTH, TRUTH]), TRUTH)
    assert (found["churn"], found["churn_per_error"], found["accuracy_where_differing"]) == (0, None, None)
    assert measures.agreement(1 - np.stack([TRUTH, TRUTH * 0 + 9]), TRUTH)["accuracy_elsewhere"] is None
    assert measures.foretold(np.arange(4.0), np.stack([TRUTH, TRUTH])) is None


def test_groups():
    group = np.array([0, 0, 2, 2])
    found = measures.by_group(LABELS, TRUTH, group, ["left", "empty", "right"])
    assert [row["group"] for row in found] == ["left", "right"]
    assert [row["examples"] for row in found] == [2, 2]
    assert [row["churn"] for row in found] == [0.5, 0.5]
    assert [row["accuracy"] for row in found] == pytest.approx([5 / 6, 4 / 6])
    assert [row["accuracy_spread"] for row in found] == [0.5, 0.5]


def test_the_most_divergent_first_and_none_that_all_agree_on():
    def probs(labels, confidence):
        return np.where(np.eye(3)[labels] > 0, confidence, (1 - confidence) / 2)

    # Example 1 has three labels; 2 has two, with low confidence; 3 has two, with high confidence; 0 has one.
    probs_NKC = [probs([0, 0, 0], 0.4), probs([0, 1, 2], 0.9), probs([0, 1, 1], 0.5), probs([1, 1, 0], 0.9)]
    probs_KNC = np.stack(probs_NKC, axis=1)
    assert measures.most_divergent(probs_KNC, 10).tolist() == [1, 2, 3]
    assert measures.most_divergent(probs_KNC, 1).tolist() == [1]


def test_auroc_of_a_score_that_tells_all_and_one_that_tells_the_contrary():
    score = measures.differing(LABELS).astype(float)
    assert measures.foretold(score, LABELS) == 1.0
    assert measures.foretold(-score, LABELS) == 0.0


def test_distances_and_their_growth():
    zero, three_four, far = np.zeros(2, np.float32), np.array([3, 4], np.float32), np.array([6, 8], np.float32)
    assert measures.distances([[zero, zero], [zero, three_four]]) == [0, 5]
    assert measures.distances([[zero], [three_four], [far]]) == [pytest.approx((5 + 10 + 5) / 3)]
    assert measures.growth([0, 0, 2.0, 5.0]) == 2.5
    assert measures.growth([0, 0]) is None


def test_the_first_step_that_differs():
    steps = [1, 2, 3]
    assert measures.first_difference(steps, ["aab", "aab", "aac"]) == 3
    assert measures.first_difference(steps, ["aab", "abb", "aac"]) == 2
    assert measures.first_difference(steps, ["aab", "aab"]) is None


def test_ulps_count_the_floats_between():
    one = np.array([1.0, -1.0, 0.0, 5.0], np.float32)
    up = np.nextafter(one, np.float32(9))
    assert measures.ulps(one, one) == 0
    assert measures.ulps(one, up) == 1
    assert measures.ulps(np.float32([0.0]), np.float32([-0.0])) == 0
    assert (
        measures.ulps(np.nextafter(np.float32([0]), np.float32(-1)), np.nextafter(np.float32([0]), np.float32(1))) == 2
    )
    assert measures.ulps(np.float32([1.0]), np.float32([2.0])) == 2**23
