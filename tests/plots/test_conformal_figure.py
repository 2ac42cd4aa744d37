"""Figures of conformal prediction and of recalibrated predictions, from the files alone."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bnn_hvd import plots
from bnn_hvd.metrics import calibration, classification, conformal, regression
from bnn_hvd.run import records

RNG = np.random.default_rng(0)
COUNT = 300
SCORED = np.arange(COUNT) % 2 == 0


def legend(figure: Figure) -> list[str]:
    """Return the labels of all legends."""
    found = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for one in found for text in one.get_texts()]


def write(run: Path, arrays: dict[str, np.ndarray], coverage: float) -> None:
    records.write_npz(run / records.PREDICTIVE, arrays)
    said = {"conformal": {"coverage": coverage, "likely_coverage": [coverage - 0.05, coverage + 0.05]}}
    records.write_json(run / records.UNCERTAINTY, said)


def test_sets_and_the_fitted_temperature(tmp_path):
    """The scored examples are drawn, with the numbers of uncertainty.json."""
    probs_NC = RNG.dirichlet(np.ones(4), size=COUNT)
    labels_N = np.where(np.arange(COUNT) % 10 == 5, -1, RNG.integers(4, size=COUNT))
    arrays = {
        "probs_NC": probs_NC, "labels_N": labels_N, "class_names": np.array(["a", "b", "c", "d"]),
        "calibrated_probs_NC": calibration.tempered(probs_NC, 5), "calibration_part_N": ~SCORED,
        "conformal_scored_N": SCORED, **{f"conformal_{name}_NC": probs_NC > 0.2 for name in conformal.CLASS_SCORES},
    }  # fmt: skip
    write(tmp_path, arrays, 0.8)
    figure = plots.draw(tmp_path, "conformal")
    found = conformal.sets_summary(probs_NC[SCORED] > 0.2, labels_N[SCORED])
    text = f"APS: coverage {found['coverage']:.3f}, mean size {found['mean_size']:.2f}"
    assert {text, "asked for"} <= set(legend(figure))
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["a", "b", "c", "d"]
    np.testing.assert_allclose(left.lines[0].get_ydata(), found["coverage_by_class"])
    heights = [bar.get_height() for bar in right.patches]
    np.testing.assert_allclose(sum(heights), 3)  # the fractions of three scores
    other_N = SCORED & (labels_N >= 0)
    error = classification.ece(arrays["calibrated_probs_NC"][other_N], labels_N[other_N])
    assert f"at the fitted temperature, other half: ECE {error:.4f}" in legend(plots.draw(tmp_path, "reliability"))


def test_intervals_and_the_map_of_quantiles(tmp_path):
    std_N = RNG.uniform(0.5, 2, COUNT)
    y_N = std_N * RNG.normal(size=COUNT)
    pit_N, mapped_N = RNG.uniform(size=COUNT) ** 2, RNG.uniform(size=COUNT)
    intervals_NB = np.stack([-2 * std_N, 2 * std_N], axis=1)
    arrays = {
        "y_N": y_N, "mean_N": np.zeros(COUNT), "total_std_N": std_N, "pit_N": pit_N, "calibrated_pit_N": mapped_N,
        "calibration_part_N": ~SCORED, "conformal_scored_N": SCORED, "conformal_cqr_NB": intervals_NB,
        "conformal_scaled_NB": intervals_NB,
    }  # fmt: skip
    write(tmp_path, arrays, 0.9)
    figure = plots.draw(tmp_path, "conformal")
    found = conformal.intervals_summary(intervals_NB[SCORED], y_N[SCORED], std_N[SCORED])
    text = f"conformalised quantiles: coverage {found['coverage']:.3f}, mean width {found['mean_width']:.3g}"
    assert text in legend(figure)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), found["coverage_by_std_quarter"])
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), 4 * std_N[SCORED])
    error = regression.calibration_error(mapped_N[SCORED])
    assert f"recalibrated, other half: {error:.3f}" in legend(plots.draw(tmp_path, "calibration"))
