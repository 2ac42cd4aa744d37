"""The sine data set from the command to the figures: far from the data, an ensemble is uncertain."""

import numpy as np
import pytest
import running

from bnn_hvd.run import records

TRAIN = (
    "train", "--dataset=sine", "--architecture=mlp", "--hidden=32", "--likelihood=heteroscedastic", "--threads=1",
    "--eval_every_epochs=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sine")
    csv, swapped = folder / "line.csv", folder / "swapped.csv"
    x = np.random.default_rng(0).normal(size=[400, 3])
    np.savetxt(csv, x, delimiter=",", header="a,b,y", comments="")
    np.savetxt(swapped, x[:, [1, 0, 2]], delimiter=",", header="b,a,y", comments="")
    commands = [
        [*TRAIN, "--method=ensemble", "--epochs=40", "--learning_rate=3e-3", f"--run={folder / 'e'}"],
        ["predict", f"--run={folder / 'e'}", "--mode=median,std,min,max", "--quantiles=0.25,0.75", "--threads=1"],
        ["plot", f"--run={folder / 'e'}"],
        [*TRAIN, "--method=vi", "--epochs=2", f"--run={folder / 'vi'}"],
        ["predict", f"--run={folder / 'vi'}", "--num_draws=20", "--threads=1"],
        ["train", "--dataset=table", f"--data_dir={csv}", "--target=y", "--architecture=mlp", "--method=point",
         "--epochs=1",
         "--noise_scale=0.5", "--threads=1", f"--run={folder / 'table'}"],
        ["predict", f"--run={folder / 'table'}", "--threads=1"],
        ["train", "--dataset=table", f"--data_dir={csv}", "--target=y", "--architecture=mlp", "--method=point",
         "--epochs=1",
         "--test_fraction=0.1", "--standardize_targets=false", "--threads=1", f"--run={folder / 'raw'}"],
        ["predict", f"--run={folder / 'raw'}", "--threads=1"],
        ["plot", f"--run={folder / 'table'}"],
        ["predict", f"--run={folder / 'raw'}", f"--data_dir={swapped}", "--threads=1", f"--out={folder / 'swapped'}"],
    ]  # fmt: skip
    outcomes = running.several(folder / "outcomes", *commands)
    assert [ranks[0].code for ranks in outcomes] == [0] * len(commands), outcomes
    return folder


def predictive(run) -> dict[str, np.ndarray]:
    with np.load(run / records.PREDICTIVE) as arrays:
        return dict(arrays)


def test_far_from_the_data_the_ensemble_does_not_know(folder):
    found = predictive(folder / "e")
    at = [np.abs(found["grid_x_G"] - x).argmin() for x in (0, 3 * np.pi)]
    near, far = found["grid_epistemic_std_G"][at]
    assert far > 5 * near


def test_intervals_hold_what_they_say(folder):
    """There are 1,000 targets: the coverage has a binomial standard error of 0.7 %."""
    scores = records.read_json(folder / "e" / records.UNCERTAINTY)
    assert 0.90 <= scores["two_sigma_coverage"] <= 0.98
    assert scores["rmse"] < 0.2  # the noise is 0.13
    assert scores["num_draws"] == 8


def test_statistics_are_over_the_means_of_the_particles(folder):
    found = predictive(folder / "e")
    assert (found["min_of_means_N"] <= found["median_of_means_N"]).all()
    assert (found["median_of_means_N"] <= found["max_of_means_N"]).all()
    np.testing.assert_allclose(found["std_of_means_N"], found["epistemic_std_N"], rtol=1e-5)
    assert found["x_N"].shape == found["y_N"].shape
    assert found["quantiles_of_means_QN"].shape == (2, len(found["y_N"]))


def test_quantiles_are_those_of_new_observations(folder):
    """A target is below a quantile if the distribution function of the prediction is below its level there."""
    found = predictive(folder / "e")
    for level, quantile_N in zip((0.25, 0.75), found["quantiles_QN"], strict=True):
        np.testing.assert_array_equal(found["y_N"] < quantile_N, found["pit_N"] < level)
    between = np.mean((found["quantiles_QN"][0] < found["y_N"]) & (found["y_N"] < found["quantiles_QN"][1]))
    assert between == records.read_json(folder / "e" / records.UNCERTAINTY)["coverage_50"]


def test_the_noise_is_found_where_it_is(folder):
    """The noise grows from 0.05 to 0.2; the network learns it to within a quarter."""
    found = predictive(folder / "e")
    for x, noise in ((-1.2, 0.068), (1.2, 0.182)):
        learnt = found["grid_aleatoric_std_G"][np.abs(found["grid_x_G"] - x).argmin()]
        assert learnt == pytest.approx(noise, rel=0.25)


def test_the_figures_of_a_curve_and_of_a_table(folder):
    names = {run: {path.stem for path in (folder / run / records.PLOTS).iterdir()} for run in ("e", "table")}
    assert {"curve", "particles", "calibration", "learning_curves"} <= names["e"]
    assert "calibration" in names["table"]
    assert not names["table"] & {"curve", "reliability"}


def test_a_table_may_be_split_and_learnt_in_another_way(folder):
    assert len(predictive(folder / "raw")["y_N"]) == 40
    assert records.read_json(folder / "raw" / records.DATA)["target_units"] == {"mean": 0.0, "scale": 1.0}
    assert records.read_json(folder / "table" / records.DATA)["target_units"]["mean"] != 0


def test_columns_in_another_order_are_found_by_their_names(folder):
    own, swapped = predictive(folder / "raw"), predictive(folder / "swapped")
    assert len(swapped["mean_N"]) == 400
    np.testing.assert_array_equal(swapped["mean_N"][own["row_N"]], own["mean_N"])


def test_a_table_is_predicted_in_its_own_units(folder):
    found, scores = predictive(folder / "table"), records.read_json(folder / "table" / records.UNCERTAINTY)
    assert len(found["y_N"]) == 80
    np.testing.assert_allclose(found["aleatoric_std_N"], 0.5, rtol=1e-4)
    assert scores["epistemic_std"] == 0
