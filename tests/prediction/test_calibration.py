"""What a run keeps of its calibration: from which examples it is made, where it is applied, and what is refused."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from bnn_hvd import config
from bnn_hvd.config import PredictConfig, TrainConfig
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.data.stored import StoredArray
from bnn_hvd.errors import UserError
from bnn_hvd.metrics import conformal, regression
from bnn_hvd.metrics.regression import Mixture
from bnn_hvd.prediction import calibration, shift
from bnn_hvd.prediction.calibration import Calibrating
from bnn_hvd.prediction.predict import check_kind
from bnn_hvd.run import records
from bnn_hvd.targets import Classes, ImplicitRatings, RealValues, RealVectors

RANDOM = np.random.default_rng(0)
COUNT, STEP, DRAWS = 400, 60, 30
X = RANDOM.normal(size=[2 * COUNT, 3]).astype(np.float32)
Y = RANDOM.integers(5, size=2 * COUNT).astype(np.int32)
FOUND = {"probs_NC": RANDOM.dirichlet(np.ones(5), size=COUNT)}


def arrays(x: np.ndarray = X[COUNT:], y: np.ndarray = Y[COUNT:]) -> Arrays:
    return Arrays(X[:COUNT], Y[:COUNT], x, y, 5, tuple("abcde"))


def no_quantiles(levels: np.ndarray) -> np.ndarray:
    raise AssertionError("nothing asks for quantiles")


def planned(run, data: Arrays, step: int = STEP, draws: int = DRAWS, **flags) -> tuple[Calibrating, PredictConfig]:
    """Return how a run that was trained on the first half of X is calibrated."""
    trained: TrainConfig = config.resolve(dataset="digits", run=str(run))
    known = SimpleNamespace(fingerprint=Fingerprint.of(arrays()))
    asked: PredictConfig = config.make(PredictConfig, run=str(run), **flags)
    plan = calibration.plan(asked, trained, known, data, Fingerprint.of(data), step, draws, calibration.read(run))
    return plan, plan.config(asked)


def test_a_half_of_the_labelled_examples_calibrates(tmp_path):
    y = np.where(np.arange(COUNT) % 4 == 0, -1, Y[COUNT:])
    plan, asked = planned(tmp_path, arrays(y=y), coverage=0.9)
    assert plan.part_N.sum() == plan.calibration.num_calibration == 150
    assert (y[plan.part_N] >= 0).all()
    made, (found, report) = plan.apply(FOUND, y, asked, no_quantiles)
    assert report["conformal"]["num_scored"] == 150
    assert found["conformal_thr_NC"].shape == (COUNT, 5)  # of all examples, with labels or without
    scores_N = 1 - FOUND["probs_NC"][np.arange(COUNT), y]
    assert made.thresholds["thr"] == np.sort(scores_N[plan.part_N])[conformal.rank(150, 0.9) - 1]
    np.testing.assert_array_equal(found["conformal_thr_NC"], 1 - FOUND["probs_NC"] <= made.thresholds["thr"])
    scored_N = ~plan.part_N & (y >= 0)
    assert report["conformal"]["thr"]["coverage"] == np.mean(scores_N[scored_N] <= made.thresholds["thr"])


def test_what_a_run_keeps_is_applied_to_every_later_prediction(tmp_path):
    plan, asked = planned(tmp_path, arrays(), coverage=0.8)
    made, (first, _) = plan.apply(FOUND, Y[COUNT:], asked, no_quantiles)
    calibration.write(tmp_path, made)
    again, asked = planned(tmp_path, arrays())
    assert asked.coverage == 0.8
    kept, (found, report) = again.apply(FOUND, Y[COUNT:], asked, no_quantiles)
    assert kept == made
    np.testing.assert_array_equal(found["conformal_aps_NC"], first["conformal_aps_NC"])
    assert report["conformal"]["num_scored"] == COUNT // 2  # the examples that calibrated are not scored
    other, asked = planned(tmp_path, arrays(X[COUNT:] + 1))
    _, (found, report) = other.apply(FOUND, Y[COUNT:], asked, no_quantiles)
    assert report["conformal"]["num_scored"] == COUNT
    assert "calibration_part_N" not in found
    _, (found, report) = other.apply(FOUND, np.full(COUNT, -1), asked, no_quantiles)
    assert report["conformal"]["num_scored"] == 0
    assert found["conformal_raps_NC"].any()


@pytest.mark.parametrize("changed", [{"step": STEP + 1}, {"draws": DRAWS - 1}])
def test_a_calibration_of_other_weights_or_draws_is_not_applied(tmp_path, changed):
    plan, asked = planned(tmp_path, arrays(), coverage=0.8)
    calibration.write(tmp_path, plan.apply(FOUND, Y[COUNT:], asked, no_quantiles)[0])
    plan, asked = planned(tmp_path, arrays(), **changed)
    assert (plan.calibration, asked.coverage) == (None, 0.0)
    assert calibration.lines({}, plan.note) == [
        "calibration.json is of 30 draws at step 60, and was not applied: give --num_draws=30, or calibrate again"
    ]


def test_examples_of_the_training_part_do_not_calibrate(tmp_path):
    """They may be the training part itself, or most of them may be in it; a few equal ones are no mistake."""
    mostly = np.arange(COUNT) % 4 > 0
    for data in (
        dataclasses.replace(arrays(X[:COUNT], Y[:COUNT]), x_train=X[:0], y_train=Y[:0]),
        arrays(np.where(mostly[:, None], X[:COUNT], X[COUNT:]), np.where(mostly, Y[:COUNT], Y[COUNT:])),
    ):
        with pytest.raises(UserError, match=r"trained on the examples to calibrate on.*--data_dir"):
            planned(tmp_path, data, coverage=0.9)
    stored = dataclasses.replace(arrays(X[:COUNT], Y[:COUNT]), x_test=StoredArray([X[:100], X[100:COUNT]]))
    with pytest.raises(UserError, match="trained on"):
        planned(tmp_path, stored, coverage=0.9)
    few = np.where(mostly[:, None], X[COUNT:], X[:COUNT]), np.where(mostly, Y[COUNT:], Y[:COUNT])
    assert planned(tmp_path, arrays(*few), coverage=0.9)[0].asked


def test_too_few_examples_have_no_threshold(tmp_path):
    few = arrays(X[COUNT : COUNT + 17], Y[COUNT : COUNT + 17])
    with pytest.raises(UserError, match=r"needs 9 examples to calibrate on, half of .*, and there are 8"):
        planned(tmp_path, few, coverage=0.9)
    unlabelled = arrays(y=np.full(COUNT, -1, np.int32))
    for flags in ({"coverage": 0.1}, {"calibrate": "temperature"}):
        with pytest.raises(UserError, match=r"needs 5 .* there are 0"):
            planned(tmp_path, unlabelled, **flags)


def test_which_calibration_is_for_which_target():
    asked = config.make(PredictConfig, run="runs/a", coverage=0.9)
    for target in (Classes(3), RealValues(), RealVectors(("a", "b"), (0.0, 0.0), (1.0, 1.0))):
        check_kind(asked, target)
    with pytest.raises(UserError, match="--coverage is for"):
        check_kind(asked, ImplicitRatings(3))
    for calibrate, target, other in (
        ("temperature", Classes(3), RealValues()),
        ("quantiles", RealValues(), Classes(3)),
    ):
        asked = config.make(PredictConfig, run="runs/a", calibrate=calibrate)
        check_kind(asked, target)
        with pytest.raises(UserError, match=f"--calibrate={calibrate} does not fit"):
            check_kind(asked, other)
    with pytest.raises(UserError, match="below 1"):
        config.make(PredictConfig, run="runs/a", coverage=1.0)


def test_label_maps_are_not_corrupted():
    """A rotated image would be scored by the labels of the image as it was."""
    asked = config.make(PredictConfig, run="runs/a", corrupt="rotation:1")
    shift.check(asked, Classes(3), (8, 8, 1), np.zeros(5, int))
    with pytest.raises(UserError, match="not the labels of their pixels"):
        shift.check(asked, Classes(3, label_shape=(8, 8)), (8, 8, 1), np.zeros([5, 8, 8], int))
    with pytest.raises(UserError, match="no labels"):
        shift.check(asked, Classes(3), (8, 8, 1), np.full(5, -1))


def test_a_damaged_calibration_is_refused(tmp_path):
    records.write_json(tmp_path / records.CALIBRATION, {"step": 1})
    with pytest.raises(UserError, match=r"calibration\.json is damaged"):
        planned(tmp_path, arrays())


def test_intervals_of_a_real_target(tmp_path):
    """The noise is twice what the model says: the intervals are widened until they hold the asked part."""
    rng = np.random.default_rng(4)
    draws = Mixture(rng.normal(size=[3, COUNT]), rng.uniform(0.5, 1, [3, COUNT]))
    found = regression.moments(draws)
    found["central_quantiles_BN"] = regression.quantiles(draws, conformal.central_levels(0.8))
    y = found["mean_N"] + 2 * found["total_std_N"] * rng.normal(size=COUNT)
    plan, asked = planned(tmp_path, arrays(y=y.astype(np.float32)), coverage=0.8)
    made, (regions, report) = plan.apply(found, y, asked, no_quantiles)
    low, high = conformal.likely_coverage(200, 200, 0.8, 1 - 1e-9)
    for name in ("cqr", "scaled"):
        covered_N = (regions[f"conformal_{name}_NB"][:, 0] <= y) & (y <= regions[f"conformal_{name}_NB"][:, 1])
        assert report["conformal"][name]["coverage"] == covered_N[~plan.part_N].mean()
        assert low <= report["conformal"][name]["coverage"] <= high
    assert made.thresholds["cqr"] > 0
    assert made.thresholds["scaled"] == pytest.approx(2 * 1.2816, rel=0.2)
    assert any("mean width" in line for line in calibration.lines(report, ""))


def test_several_real_targets_have_intervals_each(tmp_path):
    """Those of each are what they would be if it were the only one."""
    rng = np.random.default_rng(5)
    draws = [Mixture(rng.normal(size=[3, COUNT]), rng.uniform(0.5, 1, [3, COUNT])) for _ in range(2)]
    single = [
        regression.moments(each) | {"central_quantiles_BN": regression.quantiles(each, conformal.central_levels(0.8))}
        for each in draws
    ]
    y_ND = np.stack([each["mean_N"] + each["total_std_N"] * rng.normal(size=COUNT) for each in single], 1)
    found = {
        "mean_ND": np.stack([each["mean_N"] for each in single], 1),
        "total_std_ND": np.stack([each["total_std_N"] for each in single], 1),
        "central_quantiles_NBD": np.stack([each["central_quantiles_BN"].T for each in single], -1),
        "target_names": np.array(["mass", "my_spin"]),
    }
    plan, asked = planned(tmp_path, arrays(y=y_ND.astype(np.float32)), coverage=0.8)
    _, (regions, report) = plan.apply(found, y_ND, asked, no_quantiles)
    for d, name in enumerate(("mass", "my_spin")):
        _, (alone, of_one) = plan.apply(single[d], y_ND[:, d], asked, no_quantiles)
        for score in ("cqr", "scaled"):
            np.testing.assert_array_equal(regions[f"conformal_{score}_{name}_NB"], alone[f"conformal_{score}_NB"])
            assert report["conformal"][f"{score}_{name}"] == of_one["conformal"][score]
    low, high = conformal.likely_coverage(200, 200, 0.8, 1 - 1e-9)
    assert low <= report["conformal"]["cqr_my_spin"]["coverage"] <= high
