"""Uncertainty of predicted classes, from the means over the draws."""

import numpy as np

from bnn_hvd.metrics import classification, detection
from bnn_hvd.prediction import classes

RANDOM = np.random.default_rng(0)
PROBS = RANDOM.dirichlet(np.ones(4), size=200).astype(np.float32)
ROUNDED = classification.entropy(PROBS) + 1e-7 * RANDOM.normal(size=200)  # as the network computes it, in float32


def test_one_draw_has_no_epistemic_uncertainty_and_it_separates_nothing():
    """The two entropies are rounded differently: their difference would be noise around 0, and print as -0.0000."""
    found = classes.distribution({"probs": PROBS, "entropy": ROUNDED}, one_draw=True)
    assert not found["mutual_information_N"].any()
    np.testing.assert_array_equal(found["expected_entropy_N"], found["predictive_entropy_N"])
    report = classes.measures(found, np.zeros(200, int))
    assert f"{report['epistemic_uncertainty']:.4f}" == "0.0000"
    uncertainties = classes.uncertainties(found)
    assert not [name for name in detection.measures(uncertainties, uncertainties) if "mutual_information" in name]
    assert set(classes.selection(found, np.zeros(200, int))) == {"max_prob", "entropy"}


def test_epistemic_uncertainty_is_not_negative():
    found = classes.distribution({"probs": PROBS, "entropy": ROUNDED}, one_draw=False)
    assert (found["mutual_information_N"] >= 0).all()
    total = found["expected_entropy_N"] + found["mutual_information_N"]
    np.testing.assert_allclose(total, found["predictive_entropy_N"], rtol=1e-12)
    uncertainties = classes.uncertainties(found)
    assert detection.measures(uncertainties, uncertainties)["auroc_mutual_information"] == 0.5
