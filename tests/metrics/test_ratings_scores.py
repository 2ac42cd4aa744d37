"""Scores of ratings, against sums by hand, and counts of recommendations."""

import numpy as np
import pytest

from bnn_hvd.metrics import ratings

PROBS = np.array([[0.9, 0.2, 0.6, 0.5], [0.1, 0.7, 0.4, 0.3]])
Y = np.array([[1, -1, 0, -1], [0, 1, 1, -1]], np.int8)


def test_the_scores_of_a_matrix_by_hand():
    found = ratings.summary(PROBS, Y)
    entries = [0.9, 1 - 0.2, 1 - 0.5, 0.7, 0.4, 1 - 0.3]
    assert found["nll"] == pytest.approx(-np.mean(np.log(entries)))
    pairs = [(w > n) + 0.5 * (w == n) for w in (0.9, 0.7, 0.4) for n in (0.2, 0.5, 0.3)]
    assert found["auroc"] == pytest.approx(np.mean(pairs))
    assert found["precision_at_10"] == pytest.approx(np.mean([1 / 3, 2 / 3]))


def test_precision_counts_the_first_entries_that_are_known():
    assert ratings.precision(PROBS, Y, top=1) == 1
    assert ratings.precision(PROBS, Y, top=2) == pytest.approx(np.mean([1 / 2, 2 / 2]))
    assert ratings.precision(1 - PROBS, Y, top=1) == pytest.approx(0.0)


def test_entries_of_one_kind_have_no_auroc():
    assert np.isnan(ratings.summary(PROBS, np.abs(Y))["auroc"])


def test_probabilities_of_0_and_1_have_a_finite_loss():
    assert 80 < ratings.nll(np.array([0.0]), np.array([True])) < 90


def test_counts_are_sorted_and_leave_out_what_never_comes_first():
    votes = np.array([2, 0, 5, 2])
    assert ratings.counts(votes, tuple("abcd")) == [(2, "c", 5), (0, "a", 2), (3, "d", 2)]
    genre_IG = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    assert ratings.genre_counts(votes, genre_IG, ("x", "y", "z")) == [("x", 7), ("z", 2)]


def test_of_equals_the_first_has_the_most_and_the_fewest():
    assert ratings.most_and_fewest(np.array([3, 7, 1, 7, 1])) == (1, 2)
