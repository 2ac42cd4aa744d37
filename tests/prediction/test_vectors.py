"""`train`, `predict` and `plot` on targets with several columns: a table, and gravitational waves without LALSuite."""

from pathlib import Path

import numpy as np
import pytest
import running
from gw_file import write_gw

from bnn_hvd.config import PlotConfig
from bnn_hvd.errors import UserError
from bnn_hvd.metrics import conformal, detection, normal_mixtures
from bnn_hvd.plots import draw
from bnn_hvd.plots import main as plot
from bnn_hvd.prediction import vectors
from bnn_hvd.prediction.reference import read_exact
from bnn_hvd.run import records

GW = ("--dataset=gravitational_waves", "--filters=2", "--threads=1", "--batch_size=32", "--eval_draws=2")
MIXTURE = ("--likelihood=gaussian_mixture", "--components=2")
TABLE = ("--dataset=table", "--target=b,a", "--architecture=mlp", "--hidden=16", "--threads=1", "--batch_size=32")
EVENTS = 10
RUNS = ("ivon", "mixture", "gaussian", "whole", "laplace")


def write_table(path: Path) -> Path:
    """Write targets a = 10 u + noise and b = 1000 v + noise, the noise of which has a correlation of 0.8."""
    random = np.random.default_rng(0)
    u, v, first, second = random.normal(size=[4, 1000])
    a, b = 10 * u + first, 1000 * v + 100 * (0.8 * first + 0.6 * second)
    np.savez(path, u=u, v=v, a=a, b=b)
    return path


def write_new_rows(path: Path) -> Path:
    """Write a table without b, whose last row has no a either."""
    np.savez(path, v=np.array([-1.0, 0.0, 1.0]), u=np.array([0.0, 1.0, 2.0]), a=np.array([0.0, 10.0, np.nan]))
    return path


def write_exact(gw: Path, path: Path) -> Path:
    """Write posteriors of the first test events in the form of `exact`: Normals around the targets."""
    random = np.random.default_rng(1)
    with np.load(gw) as arrays:
        y_ED, snr_E = arrays["y_test"][:EVENTS], arrays["snr_test"][:EVENTS]
    values_EMD = y_ED[:, None] + 0.1 * random.normal(size=[EVENTS, 4096, 3])
    np.savez(path, event_E=np.arange(EVENTS), y_ED=y_ED, snr_E=snr_E, exact_values_EMD=values_EMD.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    gw = (*GW, f"--data_dir={write_gw(folder / 'gw.npz')}")
    exact = write_exact(folder / "gw.npz", folder / "exact.npz")
    table = (*TABLE, f"--data_dir={write_table(folder / 'table.npz')}", "--method=ensemble", "--num_particles=2")
    rest = [("--epochs=40", "--learning_rate=0.01", f"--run={folder / kind}") for kind in ("mixture", "gaussian")]
    point = ("--method=point", *MIXTURE)
    predict = {name: ["predict", f"--run={folder / name}", "--threads=1"] for name in RUNS}
    commands = [
        ["train", *gw, "--method=ivon", *MIXTURE, "--learning_rate=0.01", "--epochs=2", f"--run={folder / 'ivon'}"],
        [*predict["ivon"], "--num_draws=3", "--quantiles=0.1,0.9", f"--exact={exact}"],
        ["train", *table, *MIXTURE, *rest[0]],
        predict["mixture"],
        [*predict["mixture"], f"--data_dir={write_new_rows(folder / 'new.npz')}", f"--out={folder / 'new'}"],
        ["train", *table, *rest[1]],
        [*predict["gaussian"], "--coverage=0.5"],
        ["train", *gw, *point, "--steps=5", f"--run={folder / 'whole'}"],
        ["train", *gw, *point, "--steps=2", f"--run={folder / 'resumed'}"],
        ["train", *gw, *point, "--steps=5", f"--run={folder / 'resumed'}"],
        predict["whole"],
        ["train", *gw, "--method=laplace", f"--init_from={folder / 'whole'}", *MIXTURE, f"--run={folder / 'laplace'}"],
        [*predict["laplace"], "--num_draws=3", f"--reference={folder / 'ivon'}"],
    ]
    running.all_succeed(folder / "outcomes", *commands)
    return folder


def predictive(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / records.PREDICTIVE, allow_pickle=False) as arrays:
        return dict(arrays)


def uncertainty(run: Path) -> dict:
    return running.read_json(run, records.UNCERTAINTY)


def test_a_resumed_run_has_the_same_noise_in_every_step(folder):
    """The second session begins in the middle of an epoch, and ends in the next one."""
    whole, resumed = (running.read_json(folder / name)["weights_sha256"] for name in ("whole", "resumed"))
    assert whole == resumed


@pytest.mark.parametrize("kind", ["mixture", "gaussian"])
def test_columns_are_learnt_in_their_own_units(folder, kind):
    """The noise has the standard deviations 100 and 1, in the order of --target; errors may be a third larger."""
    report, found = uncertainty(folder / kind), predictive(folder / kind)
    assert found["target_names"].tolist() == ["b", "a"]
    assert 80 < report["rmse_b"] < 133
    assert 0.8 < report["rmse_a"] < 1.33
    assert 0.8 < report["region_coverage_90"] <= 0.99
    correlation = np.mean([
        covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        for covariance in found["aleatoric_covariance_NDD"]
    ])  # fmt: skip
    assert (correlation > 0.5) if kind == "mixture" else abs(correlation) < 0.05


def test_conformal_intervals_of_each_target(folder):
    """The covered number is beta-binomial: with probability 1e-9 it is outside of these bounds."""
    report, found = uncertainty(folder / "gaussian")["conformal"], predictive(folder / "gaussian")
    low, high = conformal.likely_coverage(report["num_calibration"], report["num_scored"], 0.5, 1 - 1e-9)
    for d, name in enumerate(("b", "a")):
        widened = found[f"conformal_cqr_{name}_NB"] - found["central_quantiles_NBD"][..., d]
        np.testing.assert_allclose(widened, widened[:1] * np.ones([len(widened), 1]), rtol=1e-3)
        for score in ("cqr", "scaled"):
            low_N, high_N = found[f"conformal_{score}_{name}_NB"].T
            covered_N = ((low_N <= found["y_ND"][:, d]) & (found["y_ND"][:, d] <= high_N))[found["conformal_scored_N"]]
            assert report[f"{score}_{name}"]["coverage"] == covered_N.mean()
            assert low <= covered_N.mean() <= high
    assert "low_cqr_b,high_cqr_b" in (folder / "gaussian" / "predictions.csv").read_text().splitlines()[0]
    titles = [axes.get_title() for axes in draw(folder / "gaussian", "conformal").axes]
    assert titles[::2] == ["b: coverage of four equal parts", "a: coverage of four equal parts"]


def test_rows_without_targets_are_predicted_and_not_scored(folder):
    """They are in predictions.csv, with a column of each target's prediction and its uncertainty."""
    report, found = uncertainty(folder / "new"), predictive(folder / "new")
    assert report["num_labelled"] == 0
    assert not {"y_ND", "pit_ND", "nll_N"} & set(found)
    np.testing.assert_allclose(found["mean_ND"], [[-1000, 0], [0, 10], [1000, 20]], atol=400)
    header, *lines = (folder / "new" / "predictions.csv").read_text().splitlines()
    assert header.startswith("row,prediction_b,total_std_b,aleatoric_std_b,epistemic_std_b,prediction_a")
    assert len(lines) == 3


def test_arrays_and_their_identities(folder):
    found, report = predictive(folder / "ivon"), uncertainty(folder / "ivon")
    parts = [found[f"{part}_std_ND"] ** 2 for part in ("aleatoric", "epistemic", "total")]
    np.testing.assert_allclose(parts[0] + parts[1], parts[2])
    np.testing.assert_allclose(
        found["predictive_entropy_N"] - found["expected_entropy_N"], found["mutual_information_N"], atol=0.2
    )
    assert found["values_NMD"].shape == (24, normal_mixtures.NUM_DRAWN, 3)
    assert found["quantiles_QND"].shape == (2, 24, 3)
    below = np.mean(found["values_NMD"] < found["quantiles_QND"][0][:, None], axis=1)
    assert np.abs(below - 0.1).max() < 6 * np.sqrt(0.09 / normal_mixtures.NUM_DRAWN)
    assert set(report["unseen"]) == {"noise", "glitch"}
    of_one = {f"{name}_entropy" for name in detection.NAMES}
    assert set(report["unseen"]["noise"]) == of_one | {f"{name}_mutual_information" for name in detection.NAMES}
    assert set(uncertainty(folder / "whole")["unseen"]["noise"]) == of_one  # a single draw
    assert report["exact"]["num_events"] == EVENTS
    assert "rms_difference_of_means" in uncertainty(folder / "laplace")["reference"]


def test_a_prediction_that_is_the_exact_posterior_has_no_distance(folder):
    """The divergence of equal distributions is that of 1,024 and 4,096 values: about 0.003 nats."""
    exact = read_exact_of(folder)
    random = np.random.default_rng(2)
    same_EMD = exact["y_ED"][:, None] + 0.1 * random.normal(size=[EVENTS, normal_mixtures.NUM_DRAWN, 3])
    found = {
        "values_NMD": same_EMD, "total_std_ND": np.full([EVENTS, 3], 0.1),
        "target_names": np.array(["p", "q", "r"]),
    }  # fmt: skip
    exact |= {"snr_E": np.full(EVENTS, 30.0)}
    _, report = vectors.compare_exact(found, exact)
    assert all(report[f"js_{name}"] < 0.008 for name in "pqr")
    assert all(abs(report[f"std_ratio_{name}"] - 1) < 0.05 for name in "pqr")
    wide = found | {"values_NMD": exact["y_ED"][:, None] + 3 * (same_EMD - exact["y_ED"][:, None])}
    assert vectors.compare_exact(wide, exact)[1]["js_p"] > 0.1


class Events:
    """The test events of the file, as far as `read_exact` looks at them."""

    def __init__(self, y_test: np.ndarray):
        self.y_test = y_test


def read_exact_of(folder: Path, change: float = 0.0) -> dict[str, np.ndarray]:
    with np.load(folder / "gw.npz") as arrays:
        return read_exact(folder / "exact.npz", Events(arrays["y_test"] + np.float32(change)))


def test_exact_posteriors_of_other_events_are_refused(folder):
    with pytest.raises(UserError, match="has posteriors of other events"):
        read_exact_of(folder, change=0.1)
    with pytest.raises(UserError, match="makes it"):
        read_exact(folder / "none.npz", Events(np.zeros([3, 3])))


def test_figures(folder):
    assert plot(PlotConfig(run=str(folder / "ivon"))) == 0
    assert plot(PlotConfig(run=str(folder / "mixture"))) == 0
    drawn = {path.stem for path in (folder / "ivon" / records.PLOTS).glob("*.png")}
    assert {"probability_plot", "coverage_over_snr", "strain", "unseen", "exact_posteriors"} <= drawn
    drawn = {path.stem for path in (folder / "mixture" / records.PLOTS).glob("*.png")}
    assert "probability_plot" in drawn
    assert not {"strain", "unseen", "exact_posteriors"} & drawn
