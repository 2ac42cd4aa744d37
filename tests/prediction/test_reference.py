"""The predictions of another run are read as a reference."""

import numpy as np
import pytest

from bnn_hvd.errors import UserError
from bnn_hvd.prediction.reference import read_reference
from bnn_hvd.run import records

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])


def test_a_reference_must_have_predicted_the_same_data(tmp_path):
    with pytest.raises(UserError, match="predict --run="):
        read_reference(tmp_path, "abc")
    records.write_npz(tmp_path / records.PREDICTIVE, {"probs_NC": P, "origin_fingerprint": np.array("abc")})
    np.testing.assert_array_equal(read_reference(tmp_path, "abc"), P)
    with pytest.raises(UserError, match="other examples"):
        read_reference(tmp_path, "def")


def test_a_reference_may_be_among_the_predictions_of_other_data(tmp_path):
    """It is found in the run, and by its own folder."""
    folder = tmp_path / records.PREDICTIONS / "far-def"
    folder.mkdir(parents=True)
    records.write_npz(tmp_path / records.PREDICTIVE, {"probs_NC": P, "origin_fingerprint": np.array("abc")})
    records.write_npz(folder / records.PREDICTIVE, {"probs_NC": P[::-1], "origin_fingerprint": np.array("def")})
    for place in (tmp_path, folder):
        np.testing.assert_array_equal(read_reference(place, "def"), P[::-1])


def test_a_regression_is_no_reference(tmp_path):
    records.write_npz(tmp_path / records.PREDICTIVE, {"mean_N": P[0]})
    with pytest.raises(UserError, match="regression"):
        read_reference(tmp_path, "abc")
