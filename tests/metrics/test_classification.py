"""The uncertainty measures against values computed by hand, brute force, and exact identities."""

import math

import numpy as np
import pytest

from bnn_hvd.metrics import classification

# Three examples of three classes; the second is predicted wrong.
PROBS_NC = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
LABELS_N = np.array([0, 1, 2])


def softmax_draws(num_draws=7, num_examples=50, num_classes=4):
    logits_SNC = 3 * np.random.default_rng(1).normal(size=(num_draws, num_examples, num_classes))
    probs_SNC = np.exp(logits_SNC)
    return probs_SNC / probs_SNC.sum(axis=-1, keepdims=True)


def test_accuracy_counts_the_most_probable_class():
    assert classification.accuracy(PROBS_NC, LABELS_N) == pytest.approx(2 / 3)


def test_top5_counts_labels_among_the_five_most_probable():
    rng = np.random.default_rng(5)
    probs_NC = rng.dirichlet(np.ones(8), 200).astype(np.float32)
    labels_N = rng.integers(8, size=200)
    better_N = (probs_NC > probs_NC[np.arange(200), labels_N][:, None]).sum(axis=1)
    assert classification.top5_accuracy(probs_NC, labels_N) == np.mean(better_N < 5)
    assert classification.top5_accuracy(np.full([2, 8], 1 / 8), np.array([4, 5])) == 0.5  # ties: the first five


def test_nll_is_the_mean_of_minus_log_probability_of_the_label():
    assert classification.nll(PROBS_NC, LABELS_N) == pytest.approx(-(math.log(0.7) + math.log(0.3) + 0) / 3)


def test_nll_of_probability_zero_is_large_and_finite():
    assert classification.nll(np.array([[1.0, 0.0]], np.float32), np.array([1])) == pytest.approx(126 * math.log(2))


def test_brier_sums_over_classes_and_averages_over_examples():
    first, second = 0.3**2 + 0.2**2 + 0.1**2, 0.5**2 + 0.7**2 + 0.2**2
    assert classification.brier(PROBS_NC, LABELS_N) == pytest.approx((first + second + 0) / 3)


def test_brier_of_a_certain_mistake_is_two_and_leaves_its_input_alone():
    probs_NC = np.array([[1.0, 0.0]])
    assert classification.brier(probs_NC, np.array([1])) == 2
    assert probs_NC.tolist() == [[1.0, 0.0]]


def test_ece_by_hand_with_confidence_one():
    # Bins (0.8, 1.0]: confidences 1.0, 1.0, 0.9 with one mistake. (0.4, 0.6]: 0.6, 0.5, one mistake.
    probs_NC = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    labels_N = np.array([0, 0, 0, 1, 0])
    by_hand = 3 / 5 * abs(2 / 3 - 2.9 / 3) + 2 / 5 * abs(1 / 2 - 1.1 / 2)
    assert classification.ece(probs_NC, labels_N, num_bins=5) == pytest.approx(by_hand)


def test_ece_counts_certain_mistakes_in_full():
    """With bins [lo, hi) confidence 1.0 would be in none, and the error would be 0."""
    probs_NC = np.array([[1.0, 0.0]] * 4, np.float32)
    assert classification.ece(probs_NC, np.array([1, 1, 1, 0])) == pytest.approx(0.75)


def test_reliability_bins_are_open_below_and_closed_above():
    probs_NC = np.array([[0.5, 0.5], [0.5000001, 0.4999999], [1.0, 0.0]])
    bins = classification.reliability(probs_NC, np.array([0, 1, 0]), num_bins=2)
    assert bins.count_B.tolist() == [1, 2]
    assert bins.accuracy_B.tolist() == [1, 0.5]
    assert bins.confidence_B == pytest.approx([0.5, 0.75], abs=1e-6)


def test_reliability_keeps_every_example_though_rounding_exceeds_one():
    probs_NC = np.array([[1.0 + 1e-7, 0.0], [0.8, 0.2]])
    assert classification.reliability(probs_NC, np.array([0, 0])).count_B.sum() == 2


def test_ece_of_calibrated_predictions_is_near_zero():
    """Labels are drawn from the predicted probabilities: only the error of a mean remains, below 0.01."""
    rng = np.random.default_rng(3)
    top_N = rng.uniform(0.5, 1, 200_000)
    labels_N = (rng.uniform(size=len(top_N)) > top_N).astype(int)
    assert classification.ece(np.stack([top_N, 1 - top_N], 1), labels_N) < 0.01


def test_entropy_in_closed_form():
    probs_NC = np.array([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0]])
    entropy_N = classification.entropy(probs_NC)
    assert entropy_N == pytest.approx([math.log(4), 0, math.log(2)])
    assert not np.signbit(entropy_N).any()


def test_entropy_takes_any_leading_axes_and_float32():
    probs_SNC = softmax_draws().astype(np.float32)
    by_definition_SN = -np.sum(probs_SNC * np.log(probs_SNC), axis=-1)
    assert classification.entropy(probs_SNC) == pytest.approx(by_definition_SN, abs=1e-5)


def test_total_is_aleatoric_plus_epistemic():
    """The epistemic part is computed as the mean KL divergence of the draws from their mean."""
    probs_SNC = softmax_draws()
    mean_NC = probs_SNC.mean(axis=0)
    epistemic_N = np.mean(np.sum(probs_SNC * np.log(probs_SNC / mean_NC), axis=-1), axis=0)
    aleatoric_N = classification.entropy(probs_SNC).mean(axis=0)
    assert classification.entropy(mean_NC) == pytest.approx(aleatoric_N + epistemic_N, abs=1e-12)
    assert epistemic_N.min() > 0.01


def test_summary_has_what_every_evaluation_reports():
    scores = classification.summary(PROBS_NC, LABELS_N)
    assert list(scores) == ["accuracy", "nll", "brier", "ece"]  # with three classes, every label is in the top five
    assert list(classification.summary(np.full([4, 6], 1 / 6), np.arange(4)))[:2] == ["accuracy", "top5_accuracy"]
    assert scores["brier"] == classification.brier(PROBS_NC, LABELS_N)
    assert all(type(value) is float for value in scores.values())


def test_choose_examples_takes_the_surest_then_the_most_doubtful_of_each_class():
    labels_N = np.array([1, 0, 1, 0, 1, 5])
    entropy_N = np.array([0.3, 0.2, 0.1, 0.9, 0.9, 0.4])
    assert classification.choose_examples(labels_N, entropy_N).tolist() == [1, 2, 5, 3, 4, 5]


def test_choose_examples_takes_the_first_of_equal_entropies():
    assert classification.choose_examples(np.zeros(4, int), np.zeros(4)).tolist() == [0, 0]


def test_choose_examples_takes_ten_classes_of_many_evenly():
    labels_N = np.repeat(np.arange(28), 3)
    index_K = classification.choose_examples(labels_N, np.random.default_rng(0).uniform(size=84))
    assert labels_N[index_K].tolist() == 2 * list(range(0, 28, 3))
