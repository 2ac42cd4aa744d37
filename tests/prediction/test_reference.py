"""The predictions of another run are read as a reference."""

import numpy as np
import pytest

from bnn_hvd.errors import UserError
from bnn_hvd.prediction.reference import read_reference
from bnn_hvd.run import records

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])


def test_a_reference_must_have_predicted_the_same_examples(tmp_path):
    labels = np.array([0, 1, 2])
    with pytest.raises(UserError, match="predict --run="):
        read_reference(tmp_path, labels)
    records.write_npz(tmp_path / records.PREDICTIVE, {"probs_NC": P, "labels_N": labels})
    np.testing.assert_array_equal(read_reference(tmp_path, labels), P)
    with pytest.raises(UserError, match="other examples"):
        read_reference(tmp_path, labels[:2])


def test_a_regression_is_no_reference(tmp_path):
    records.write_npz(tmp_path / records.PREDICTIVE, {"mean_N": P[0]})
    with pytest.raises(UserError, match="regression"):
        read_reference(tmp_path, np.arange(3))
