"""The learnt noise of a Gaussian reaches the noise of the data within few epochs, and the intervals then hold."""

import numpy as np
import pytest
import running
from oracles import RARE

from bnn_hvd.run import records

NOISE, COUNT, TEST_FRACTION = 0.3, 2000, 0.75


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train an ensemble for 60 epochs of 8 steps on y = x^2 + noise, whose targets have a standard deviation of 2.7."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    x = random.uniform(-3, 3, COUNT)
    rows = np.stack([x, x**2 + NOISE * random.normal(size=COUNT)], 1)
    np.savetxt(folder / "curve.csv", rows, delimiter=",", header="x,y", comments="")
    train = [
        "train", "--dataset=table", f"--data_dir={folder / 'curve.csv'}", "--target=y", "--architecture=mlp",
        f"--test_fraction={TEST_FRACTION}", "--method=ensemble", "--num_particles=4", "--epochs=60",
        "--eval_every_epochs=0", "--threads=1", f"--run={folder / 'run'}",
    ]  # fmt: skip
    predict = ["predict", f"--run={folder / 'run'}", "--quantiles=0.05,0.95", "--threads=1"]
    outcomes = running.several(folder / "outcomes", train, predict)
    assert [ranks[0].code for ranks in outcomes] == [0, 0], outcomes
    return folder / "run"


def test_it_is_the_noise_of_the_data(run):
    scores = records.read_json(run / records.UNCERTAINTY)
    assert scores["aleatoric_std"] == pytest.approx(NOISE, rel=0.2)


def test_targets_lie_between_the_quantiles_as_often_as_they_say(run):
    with np.load(run / records.PREDICTIVE) as found:
        (low_N, high_N), y_N = found["quantiles_QN"], found["y_N"]
    between = np.mean((low_N < y_N) & (y_N < high_N))
    assert abs(between - 0.9) < RARE * np.sqrt(0.9 * 0.1 / len(y_N))
