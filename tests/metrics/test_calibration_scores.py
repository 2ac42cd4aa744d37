"""Measures of calibration by their definitions; a temperature and a quantile map that undo a known distortion."""

import numpy as np
import pytest
import scipy.stats
from oracles import RARE

from bnn_hvd.metrics import calibration, classification, regression

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.normal(size=[3000, 4])


def softmax(logits_NC: np.ndarray) -> np.ndarray:
    powers_NC = np.exp(logits_NC)
    return powers_NC / powers_NC.sum(1, keepdims=True)


def labels_of(probs_NC: np.ndarray, seed: int = 1) -> np.ndarray:
    u_N1 = np.random.default_rng(seed).uniform(size=[len(probs_NC), 1])
    return np.minimum((u_N1 > np.cumsum(probs_NC, 1)).sum(1), probs_NC.shape[1] - 1)


PROBS, LABELS = softmax(LOGITS), labels_of(softmax(LOGITS / 2.5))  # the labels are of calmer probabilities


def test_adaptive_ece_by_its_definition():
    """50 examples in 5 bins of 10, from the least to the most confident."""
    probs_NC, labels_N = PROBS[:50], LABELS[:50]
    expected = 0.0
    order = sorted(range(50), key=lambda n: probs_NC[n].max())
    for start in range(0, 50, 10):
        part = order[start : start + 10]
        accuracy = np.mean([probs_NC[n].argmax() == labels_N[n] for n in part])
        expected += 10 / 50 * abs(accuracy - np.mean([probs_NC[n].max() for n in part]))
    assert calibration.adaptive_ece(probs_NC, labels_N, 5) == pytest.approx(expected, abs=1e-12)


def test_classwise_ece_by_its_definition():
    probs_NC, labels_N = PROBS[:200], LABELS[:200]
    expected = 0.0
    for c in range(4):
        for low in np.arange(5) / 5:
            inside = [n for n in range(200) if low < probs_NC[n, c] <= low + 0.2]
            if inside:
                frequency = np.mean([labels_N[n] == c for n in inside])
                expected += len(inside) / 200 * abs(frequency - np.mean(probs_NC[inside, c])) / 4
    assert calibration.classwise_ece(probs_NC, labels_N, 5) == pytest.approx(expected, abs=1e-12)


def test_of_two_classes_the_classwise_error_is_that_of_either():
    """Their probabilities add up to 1; with one bin, both errors are an excess of probability over frequency."""
    probs_NC = softmax(LOGITS[:, :2])
    labels_N = labels_of(softmax(LOGITS[:, :2] / 2))
    first = abs(probs_NC[:, 0].mean() - np.mean(labels_N == 0))
    assert calibration.classwise_ece(probs_NC, labels_N, 1) == pytest.approx(first, abs=1e-12)
    excess = abs(probs_NC.max(1).mean() - classification.accuracy(probs_NC, labels_N))
    assert calibration.adaptive_ece(probs_NC, labels_N, 1) == pytest.approx(excess, abs=1e-12)


def test_calibrated_predictions_have_small_errors():
    labels_N = labels_of(PROBS)
    for error in (calibration.adaptive_ece, calibration.classwise_ece):
        assert error(PROBS, labels_N) < 0.03 < error(PROBS, LABELS)


def test_probabilities_of_zero_and_one_have_a_bin():
    probs_NC = np.array([[1.0 + 1e-7, 0.0], [0.0, 1.0]])
    assert calibration.classwise_ece(probs_NC, np.array([0, 1])) == pytest.approx(0, abs=1e-6)
    assert calibration.adaptive_ece(probs_NC, np.array([1, 0])) == pytest.approx(1, abs=1e-6)


def test_the_temperature_undoes_a_known_one():
    """Labels are drawn at the temperature 2.5: the estimate is within RARE standard errors (Fisher information)."""
    found = calibration.fit_temperature(PROBS, LABELS)
    logs_NC, true_NC = np.log(PROBS), softmax(LOGITS / 2.5)
    variance_N = np.sum(true_NC * logs_NC**2, 1) - np.sum(true_NC * logs_NC, 1) ** 2
    assert abs(1 / found - 1 / 2.5) < RARE / np.sqrt(variance_N.sum())
    assert classification.nll(calibration.tempered(PROBS, found), LABELS) < classification.nll(PROBS, LABELS) - 0.1


def test_at_the_best_temperature_the_mean_log_probability_is_that_expected():
    """The derivative of the NLL is 0: the data have the mean of log p that the tempered probabilities expect."""
    tempered_NC = calibration.tempered(PROBS, calibration.fit_temperature(PROBS, LABELS))
    logs_NC = np.log(PROBS)
    expected = np.mean(np.sum(tempered_NC * logs_NC, 1))
    assert np.mean(logs_NC[np.arange(len(LABELS)), LABELS]) == pytest.approx(expected, abs=1e-4)


def test_tempering_in_closed_form():
    np.testing.assert_allclose(calibration.tempered(np.array([[0.8, 0.2]]), 2), [[2 / 3, 1 / 3]])
    np.testing.assert_allclose(calibration.tempered(PROBS, 1), PROBS)
    np.testing.assert_array_equal(calibration.tempered(PROBS, 3).argmax(1), PROBS.argmax(1))


def test_predictions_that_are_all_right_get_the_coldest_temperature():
    found = calibration.fit_temperature(PROBS, PROBS.argmax(1))
    assert calibration.COLDEST <= found < 0.06


def test_the_quantile_map_undoes_too_narrow_predictions():
    """Targets are twice as wide as predicted; mapped levels hold what they say, up to the binomial error of both."""
    y_N = 2 * np.random.default_rng(2).normal(size=8000)
    pit_N = scipy.stats.norm.cdf(y_N)
    map_K = calibration.fit_quantile_map(pit_N[:4000])
    mapped_N = calibration.observed_level(pit_N[4000:], map_K)
    assert regression.calibration_error(mapped_N) < 0.02 < 0.1 < regression.calibration_error(pit_N[4000:])
    levels = np.array([0.05, 0.5, 0.95])
    quantiles = scipy.stats.norm.ppf(calibration.predicted_level(levels, map_K))
    below = np.mean(y_N[4000:, None] <= quantiles, axis=0)
    assert (np.abs(below - levels) < RARE * np.sqrt(2 * levels * (1 - levels) / 4000)).all()
    np.testing.assert_allclose(quantiles, scipy.stats.norm.ppf(levels, 0, 2), atol=0.4)


def test_the_quantile_map_is_the_distribution_function_of_the_levels():
    """Of few examples each is a knot, and the two directions invert each other."""
    map_K = calibration.fit_quantile_map(np.array([0.4, 0.1, 0.2]))
    np.testing.assert_allclose(map_K, [0.1, 0.2, 0.4])
    np.testing.assert_allclose(calibration.observed_level(np.array([0, 0.1, 0.3, 1]), map_K), [0, 0.25, 0.625, 1])
    levels = np.linspace(0, 1, 11)
    there = calibration.predicted_level(levels, map_K)
    np.testing.assert_allclose(calibration.observed_level(there, map_K), levels)
