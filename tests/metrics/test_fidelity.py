"""How far one predictive distribution is from another, by hand."""

import numpy as np
import pytest

from bnn_hvd.metrics import fidelity

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
Q = np.array([[0.2, 0.7, 0.1], [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]])


def test_agreement_and_total_variation():
    assert fidelity.agreement(P, Q) == pytest.approx(1 / 3)
    assert fidelity.total_variation(P, Q) == pytest.approx((0.5 + 0.2 + 1.0) / 3)
    assert fidelity.compare(P, P) == {"agreement": 1.0, "total_variation": 0.0}
