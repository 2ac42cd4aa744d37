"""How far one predictive distribution is from another, by hand."""

import numpy as np
import pytest

from bnn_hvd import fidelity, records
from bnn_hvd.errors import UserError

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
Q = np.array([[0.2, 0.7, 0.1], [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]])


def test_agreement_and_total_variation():
    assert fidelity.agreement(P, Q) == pytest.approx(1 / 3)
    assert fidelity.total_variation(P, Q) == pytest.approx((0.5 + 0.2 + 1.0) / 3)
    assert fidelity.compare(P, P) == {"agreement": 1.0, "total_variation": 0.0}


def test_a_reference_must_have_predicted_the_same_examples(tmp_path):
    labels = np.array([0, 1, 2])
    with pytest.raises(UserError, match="predict --run="):
        fidelity.read_reference(tmp_path, labels)
    records.write_npz(tmp_path / records.PREDICTIVE, {"probs_NC": P, "labels_N": labels})
    np.testing.assert_array_equal(fidelity.read_reference(tmp_path, labels), P)
    with pytest.raises(UserError, match="other examples"):
        fidelity.read_reference(tmp_path, labels[:2])


def test_a_regression_is_no_reference(tmp_path):
    records.write_npz(tmp_path / records.PREDICTIVE, {"mean_N": P[0]})
    with pytest.raises(UserError, match="regression"):
        fidelity.read_reference(tmp_path, np.arange(3))
