"""The figure of corrupted images, from the files alone."""

import numpy as np

from bnn_hvd import plots
from bnn_hvd.run import records


def test_scores_against_the_level(tmp_path):
    """Each corruption is a line that begins at the clean images; levels may come in any order."""
    arrays = {
        "corrupted_name_K": np.array(["clean", "noise", "noise", "blur"]), "corrupted_level_K": np.array([0, 3, 1, 2]),
        "corrupted_accuracy_K": np.array([0.9, 0.5, 0.8, 0.7]), "corrupted_nll_K": np.array([0.1, 2, 1, 0.5]),
        "corrupted_ece_K": np.array([0.01, 0.2, 0.1, 0.05]),
    }  # fmt: skip
    records.write_npz(tmp_path / records.PREDICTIVE, arrays)
    figure = plots.draw(tmp_path, "corrupted")
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "NLL [nats]", "ECE"]
    noise, blur = figure.axes[0].lines
    np.testing.assert_array_equal(noise.get_xydata(), [[0, 0.9], [1, 0.8], [3, 0.5]])
    np.testing.assert_array_equal(blur.get_xydata(), [[0, 0.9], [2, 0.7]])
    records.write_npz(
        tmp_path / records.PREDICTIVE, arrays | {"corrupted_coverage_raps_K": np.array([0.9, 0.6, 0.8, 0.9])}
    )
    records.write_json(tmp_path / records.UNCERTAINTY, {"conformal": {"coverage": 0.9}})
    figure = plots.draw(tmp_path, "corrupted")
    assert figure.axes[3].get_ylabel() == "coverage of conformal sets (RAPS)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["noise", "blur", "coverage asked for"]
