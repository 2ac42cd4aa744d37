"""Figures of selective prediction and of out-of-distribution data, from the files alone."""

import numpy as np
import pytest

from bnn_hvd import plots
from bnn_hvd.metrics import classification, detection, selective
from bnn_hvd.run import records

RNG = np.random.default_rng(0)
PROBS, OTHER = RNG.dirichlet(np.ones(4) / 2, size=300), RNG.dirichlet(np.ones(4), size=200)
LABELS = np.where(np.arange(300) % 10 == 0, -1, RNG.integers(4, size=300))


def legend(figure) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


@pytest.fixture
def run(tmp_path):
    """A prediction of one draw: its mutual information is 0."""
    arrays = {
        "probs_NC": PROBS, "labels_N": LABELS, "predictive_entropy_N": classification.entropy(PROBS),
        "mutual_information_N": np.zeros(300), "ood_predictive_entropy_M": classification.entropy(OTHER),
        "ood_mutual_information_M": np.zeros(200), "ood_max_prob_M": OTHER.max(1),
    }  # fmt: skip
    records.write_npz(tmp_path / records.PREDICTIVE, arrays)
    return tmp_path


def test_risk_over_coverage(run):
    known_N = LABELS >= 0
    wrong_N = PROBS.argmax(1) != LABELS
    figure = plots.draw(run, "risk_coverage")
    risks = selective.risks(-PROBS[known_N].max(1), wrong_N[known_N])
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), risks)
    assert f"largest probability: AURC {risks.mean():.4g}" in legend(figure)
    assert not [text for text in legend(figure) if "mutual" in text]


def test_out_of_distribution(run):
    figure = plots.draw(run, "out_of_distribution")
    scores = classification.entropy(PROBS), classification.entropy(OTHER)
    numbers = detection.auroc(*scores), detection.fpr95(*scores), detection.aupr(*scores)
    assert "entropy (total): AUROC {:.3f} FPR95 {:.3f} AUPR {:.3f}".format(*numbers) in legend(figure)
    assert not [text for text in legend(figure) if "mutual" in text]


def test_where_examples_have_several_labels_their_mean_uncertainty_detects(run):
    """Each example has its uncertainty twice, as the labels of two pixels: the curves stay."""
    before = plots.draw(run, "out_of_distribution").axes[0].lines
    with np.load(run / records.PREDICTIVE) as found:
        twice = {name: np.stack([found[name]] * 2, axis=1) for name in found}
    records.write_npz(run / records.PREDICTIVE, twice)
    after = plots.draw(run, "out_of_distribution").axes[0].lines
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one.get_xydata(), other.get_xydata())
    risks = plots.draw(run, "risk_coverage").axes[0].lines[0].get_ydata()
    assert len(risks) == 2 * np.sum(LABELS >= 0)  # each label is kept or left out


def test_rmse_over_coverage(tmp_path):
    std_N = RNG.uniform(0.5, 2, 100)
    y_N = np.where(np.arange(100) % 10 == 0, np.nan, std_N * RNG.normal(size=100))
    arrays = {
        "mean_N": np.zeros(100), "y_N": y_N, "total_std_N": std_N, "epistemic_std_N": np.zeros(100), "crps_N": y_N,
    }  # fmt: skip
    records.write_npz(tmp_path / records.PREDICTIVE, arrays)
    drawn = plots.draw(tmp_path, "rmse_over_coverage").axes[0].lines[0].get_ydata()
    assert drawn[-1] == pytest.approx(np.sqrt(np.nanmean(y_N**2)))
    ordered = y_N[np.argsort(std_N)]
    assert drawn[44] == pytest.approx(np.sqrt(np.mean(ordered[~np.isnan(ordered)][:45] ** 2)))
