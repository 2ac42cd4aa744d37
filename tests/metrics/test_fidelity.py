"""How far one predictive distribution is from another, by hand."""

import numpy as np
import pytest

from bnn_hvd.metrics import fidelity

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
Q = np.array([[0.2, 0.7, 0.1], [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]])


def test_agreement_and_total_variation():
    assert fidelity.agreement(P, Q) == pytest.approx(1 / 3)
    assert fidelity.total_variation(P, Q) == pytest.approx((0.5 + 0.2 + 1.0) / 3)
    assert (fidelity.agreement(P, P), fidelity.total_variation(P, P)) == (1, 0)


def test_the_epistemic_part():
    """Spearman's correlation is 1 - 6 sum d^2 / (N (N^2 - 1)), d the differences of the ranks: here 1 and 1 of four."""
    reference, found = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.2, 0.6, 0.7])
    assert fidelity.compare_epistemic(found, reference) == pytest.approx({
        "epistemic_ratio": 2.0, "epistemic_rank_correlation": 0.8, "epistemic_mean_abs_difference": 0.25,
    })  # fmt: skip
    assert fidelity.compare_epistemic(3 * found, found) == pytest.approx({
        "epistemic_ratio": 3.0, "epistemic_rank_correlation": 1.0, "epistemic_mean_abs_difference": 1.0,
    })  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_of_a_single_draw_there_is_no_rank_correlation():
    none, some = np.zeros(3, np.float32), np.array([0.1, 0.2, 0.3])
    assert fidelity.compare_epistemic(none, some) == {
        "epistemic_ratio": 0.0, "epistemic_mean_abs_difference": pytest.approx(0.2)
    }  # fmt: skip
    assert fidelity.compare_epistemic(some, none) == {"epistemic_mean_abs_difference": pytest.approx(0.2)}
