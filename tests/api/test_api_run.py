"""`bnn_hvd.load`: the same numbers as the command line writes, and the identities between them."""

import numpy as np
import pytest
import running
from sklearn.datasets import load_digits

import bnn_hvd
from bnn_hvd.data import corruptions
from bnn_hvd.errors import UserError
from bnn_hvd.metrics import classification, regression
from bnn_hvd.metrics.regression import Mixture

DRAWS = 12
X = load_digits().images.astype(np.uint8)[-360:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on classes and one on real targets, both predicted by the command line."""
    folder = tmp_path_factory.mktemp("api")
    digits, sine = (f"--run={folder / name}" for name in ("digits", "sine"))
    predict = (f"--num_draws={DRAWS}", "--keep_draws=all", "--check_draws=0", "--threads=1")
    running.all_succeed(
        folder / "jobs",
        ["train", *running.TINY, "--epochs=1", digits],
        ["train", "--dataset=sine", "--architecture=mlp", "--method=ivon", "--steps=20", "--threads=1", sine],
        ["predict", digits, *predict],
        ["predict", sine, "--quantiles=0.9", *predict],
    )
    return folder


@pytest.fixture(scope="module")
def digits(runs):
    return bnn_hvd.load(runs / "digits", threads=1)


@pytest.fixture(scope="module")
def sine(runs):
    return bnn_hvd.load(runs / "sine", threads=1)


def predictive(run):
    with np.load(run.path / "predictive.npz") as arrays:
        return dict(arrays)


def test_import_alone_is_light():
    code = "import sys, bnn_hvd; print(*{n.split('.')[0] for n in sys.modules})"
    loaded = set(running.python("-c", code, fresh=True).stdout.split())
    assert "bnn_hvd" in loaded
    assert not {"numpy", "matplotlib", "absl", "tensorflow", "horovod"} & loaded


def test_every_name_of_the_package_is_there():
    assert set(bnn_hvd.__all__) == set(bnn_hvd.PLACES) <= set(dir(bnn_hvd))
    assert all(callable(getattr(bnn_hvd, name)) for name in bnn_hvd.__all__)
    with pytest.raises(AttributeError):
        bnn_hvd.nothing  # noqa: B018


def test_a_prediction_of_classes_is_that_of_the_command_line(digits):
    found, p = predictive(digits), digits.predict(X, num_draws=DRAWS)
    np.testing.assert_array_equal(p.mean, found["probs_NC"])
    np.testing.assert_array_equal(p.epistemic, found["mutual_information_N"])
    np.testing.assert_array_equal(p.draws, found["draws_SNC"])
    assert p.draws.shape == (DRAWS, len(X), 10)


def test_the_parts_of_a_prediction_of_classes(digits):
    """The mean, the entropies and the quantiles follow from the draws."""
    p = digits.predict(X[:7, ..., None], num_draws=DRAWS)  # grey images with their channel
    draws = p.draws.astype(np.float64)
    np.testing.assert_allclose(p.mean, draws.mean(0), atol=1e-6)
    np.testing.assert_allclose(p.aleatoric, classification.entropy(draws).mean(0), atol=1e-5)
    np.testing.assert_allclose(p.total, p.aleatoric + p.epistemic)
    np.testing.assert_array_equal(p.quantile(0.25), np.quantile(p.draws, 0.25, axis=0))
    np.testing.assert_array_equal(p.labels, draws.mean(0).argmax(-1))


def test_a_prediction_of_real_targets_is_that_of_the_command_line(sine):
    found = predictive(sine)
    p = sine.predict(found["x_N"][:, None], num_draws=DRAWS)
    for name, array in {"mean": "mean_N", "total": "total_std_N", "epistemic": "epistemic_std_N"}.items():
        np.testing.assert_array_equal(getattr(p, name), found[array])
    np.testing.assert_array_equal(p.draws, found["draws_mean_SN"])
    np.testing.assert_array_equal(p.quantile(0.9), found["quantiles_QN"][0])
    mixture = Mixture(found["draws_mean_SN"], found["draws_scale_SN"])
    np.testing.assert_allclose(regression.moments(mixture)["total_std_N"], p.total)


def test_a_seed_chooses_the_draws(digits):
    default, same, other = (digits.predict(X[:3], num_draws=2, seed=seed).draws for seed in (None, 7, 8))
    np.testing.assert_array_equal(default, same)  # the run has --seed=7
    assert not np.array_equal(default, other)


def test_the_weights_are_those_of_the_predictions(digits):
    """The network of `fc`, written in numpy, gives the draws' probabilities from the draws' weights."""
    w = digits.weights(num_draws=DRAWS)
    x = X[:5].reshape(5, -1).astype(np.float64)
    known = digits._known.standardizer
    x = (x - known.mean) * known.inv_std
    hidden = np.maximum(x @ w["dense1/kernel"] + w["dense1/bias"][:, None], 0)
    logits = hidden @ w["logits/kernel"] + w["logits/bias"][:, None]
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(digits.predict(X[:5], num_draws=DRAWS).draws, probs, atol=1e-5)
    assert w["dense1/kernel"].shape == (DRAWS, 64, 64)
    assert w["dense1/kernel"].std(0).min() > 0  # the output layer is deterministic
    np.testing.assert_array_equal(w["logits/kernel"], np.broadcast_to(w["logits/kernel"][:1], (DRAWS, 64, 10)))


def test_the_numbers_and_figures_of_a_run(digits):
    assert (digits.config["method"], digits.config["seed"]) == ("vi", 7)
    assert digits.summary == running.read_json(digits.path)
    assert {row["kind"] for row in digits.metrics} == {"train", "eval"}
    assert digits.plot("reliability").get_suptitle() == "Reliability: digits"


def test_evaluate_is_the_verb_predict(digits):
    report = digits.evaluate(num_draws=DRAWS, check_draws=0)
    assert report == running.read_json(digits.path, "uncertainty.json")
    assert report["accuracy"] == classification.accuracy(digits.predict(X, DRAWS).mean, load_digits().target[-360:])


def test_conformal_sets_are_those_of_predict(digits):
    """The run keeps the calibration of predictions with as many draws of its seed."""
    report = digits.evaluate(num_draws=DRAWS, check_draws=0, coverage=0.8)
    p, found = digits.predict(X, num_draws=DRAWS), predictive(digits)
    for score in ("thr", "aps", "raps"):
        np.testing.assert_array_equal(p.conformal_sets(score), found[f"conformal_{score}_NC"])
    first = (digits.path / "predictions.csv").read_text().splitlines()
    row = dict(zip(first[0].split(","), first[1].split(","), strict=True))
    assert row["set_aps"] == "|".join(map(str, np.flatnonzero(p.conformal_sets("aps")[0])))
    scored_N = ~found["calibration_part_N"]
    covered_N = p.conformal_sets()[np.arange(len(X)), found["labels_N"]]
    assert report["conformal"]["raps"]["coverage"] == covered_N[scored_N].mean()
    assert (scored_N.sum(), report["conformal"]["num_scored"]) == (180, 180)
    for other in (digits.predict(X, num_draws=DRAWS - 1), digits.predict(X, num_draws=DRAWS, seed=8)):
        with pytest.raises(UserError, match="keeps no such calibration"):
            other.conformal_sets()


def test_conformal_intervals_are_those_of_predict(sine):
    found, p = predictive(sine), sine.predict(predictive(sine)["x_N"][:, None], num_draws=DRAWS)
    with pytest.raises(UserError, match="keeps no such calibration"):
        p.conformal_intervals()
    sine.evaluate(num_draws=DRAWS, check_draws=0, coverage=0.7)
    found, p = predictive(sine), sine.predict(found["x_N"][:, None], num_draws=DRAWS)
    for score in ("cqr", "scaled"):
        np.testing.assert_array_equal(p.conformal_intervals(score), found[f"conformal_{score}_NB"])
    quantiles_NB = np.stack([p.quantile(0.15), p.quantile(0.85)], axis=1)
    widened = p.conformal_intervals("cqr") - quantiles_NB
    np.testing.assert_allclose(widened[:, 1], -widened[:, 0], atol=1e-9)
    np.testing.assert_allclose(widened[:, 1], widened[0, 1], atol=1e-9)
    with pytest.raises(UserError, match="unknown score 'aps'; known: cqr, scaled"):
        p.conformal_intervals("aps")


def test_calibrated_probabilities_are_those_of_predict(digits):
    """The temperature is fitted to half of the test part; the other half is scored before and after."""
    report = digits.evaluate(num_draws=DRAWS, check_draws=0, calibrate="temperature")["calibrated"]
    p, found = digits.predict(X, num_draws=DRAWS), predictive(digits)
    np.testing.assert_array_equal(p.calibrated, found["calibrated_probs_NC"])
    powers = p.mean.astype(np.float64) ** (1 / report["temperature"])
    np.testing.assert_allclose(p.calibrated, powers / powers.sum(1, keepdims=True), atol=1e-6)
    scored_N = ~found["calibration_part_N"]
    labels_N = found["labels_N"][scored_N]
    assert report["before"]["nll"] == classification.nll(p.mean[scored_N], labels_N)
    assert report["after"]["nll"] == classification.nll(p.calibrated[scored_N], labels_N)
    assert report["after"]["nll"] < report["before"]["nll"]
    again = digits.evaluate(num_draws=DRAWS, check_draws=0)
    assert again["calibrated"] == report
    assert "conformal" in again  # the calibration that was made before is kept


def test_scores_of_corrupted_images_are_those_of_their_predictions(digits):
    """Of images that are corrupted first, and predicted then; the thresholds are those of the clean images."""
    report = digits.evaluate(num_draws=DRAWS, check_draws=0, coverage=0.8, corrupt="noise:2,rotation:5")
    clean, noise, rotation = report["corrupted"]
    assert [(row["name"], row["level"]) for row in report["corrupted"]] == [("clean", 0), ("noise", 2), ("rotation", 5)]
    assert all(clean[name] == report[name] for name in ("accuracy", "nll", "ece"))
    assert clean["coverage_aps"] == report["conformal"]["aps"]["coverage"]
    images, found = X[..., None], predictive(digits)
    labels_N, scored_N = found["labels_N"], found["conformal_scored_N"]
    for row in (noise, rotation):
        ends = corruptions.value_range(images)
        p = digits.predict(corruptions.corrupted(images, row["name"], row["level"], ends)[:], num_draws=DRAWS)
        assert row["nll"] == classification.nll(p.mean, labels_N)
        assert row["ece"] == classification.ece(p.mean, labels_N)
        covered_N = p.conformal_sets("thr")[np.arange(len(X)), labels_N]
        assert row["coverage_thr"] == covered_N[scored_N].mean()
    assert rotation["accuracy"] < noise["accuracy"] <= clean["accuracy"] + 0.03
    np.testing.assert_array_equal(found["corrupted_nll_K"], [row["nll"] for row in report["corrupted"]])
    assert digits.plot("corrupted").get_suptitle() == "Corrupted images: digits"


def test_only_labelled_images_are_corrupted(digits, sine):
    with pytest.raises(UserError, match=r"--corrupt is for images .* examples of \[1\]: leave it out"):
        sine.evaluate(num_draws=DRAWS, check_draws=0, corrupt="noise")
    with pytest.raises(UserError, match="unknown corruption in --corrupt 'fog'"):
        digits.evaluate(corrupt="fog")


def test_calibrated_quantiles_are_those_of_predict(sine):
    flags = {"num_draws": DRAWS, "check_draws": 0, "quantiles": "0.1,0.9"}
    report = sine.evaluate(calibrate="quantiles", **flags)["calibrated"]
    found = predictive(sine)
    p = sine.predict(found["x_N"][:, None], num_draws=DRAWS)
    np.testing.assert_array_equal(p.calibrated_quantile(0.9), found["calibrated_quantiles_QN"][1])
    scored_N = ~found["calibration_part_N"]
    below = np.mean(found["y_N"][scored_N] <= found["calibrated_quantiles_QN"][1][scored_N])
    assert below == np.mean(found["calibrated_pit_N"][scored_N] <= 0.9)
    assert report["after"]["calibration_error"] == regression.calibration_error(found["calibrated_pit_N"][scored_N])
    assert report["after"]["calibration_error"] < report["before"]["calibration_error"]


def test_what_the_run_keeps_is_applied_to_data_without_labels(sine, tmp_path):
    """Intervals and recalibrated quantiles, as arrays and as columns of predictions.csv."""
    np.save(tmp_path / "new.npy", np.linspace(-1, 1, 7, dtype=np.float32)[:, None])
    sine.evaluate(num_draws=DRAWS, check_draws=0, coverage=0.7, calibrate="quantiles")
    flags = {"data_dir": str(tmp_path / "new.npy"), "out": str(tmp_path / "out"), "quantiles": "0.1,0.9"}
    report = sine.evaluate(num_draws=DRAWS, check_draws=0, **flags)
    assert report["conformal"]["num_scored"] == report["calibrated"]["num_scored"] == 0
    with np.load(tmp_path / "out" / "predictive.npz") as found:
        p = sine.predict(np.load(tmp_path / "new.npy"), num_draws=DRAWS)
        np.testing.assert_array_equal(found["conformal_cqr_NB"], p.conformal_intervals("cqr"))
        np.testing.assert_array_equal(found["calibrated_quantiles_QN"][0], p.calibrated_quantile(0.1))
    names, first, *_ = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    row = dict(zip(names.split(","), first.split(","), strict=True))
    assert float(row["low_cqr"]) == pytest.approx(p.conformal_intervals("cqr")[0, 0], rel=1e-6)
    assert float(row["high_scaled"]) == pytest.approx(p.conformal_intervals("scaled")[0, 1], rel=1e-6)


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda run: run.predict(X[:, :4]), r"\[360, 4, 8\].*\[8, 8, 1\]: give \[N, 8, 8, 1\]"),
        (lambda run: run.predict(X * np.nan), "NaN"),
        (lambda run: run.predict(X[:0]), "empty"),
        (lambda run: run.predict(X.astype(str)), "no numbers"),
        (lambda run: run.predict(X, num_draws=0), "at least 1"),
        (lambda run: run.predict(X[:1], 1).quantile(2), r"\[0, 1\]"),
        (lambda run: run.plot("nonsense"), "unknown figure 'nonsense'; known: learning_curves"),
        (lambda run: run.plot("curve"), "grid_x_G"),
        (lambda run: run.plot("traces"), "no chains.npz: `train` writes it"),
        (lambda run: bnn_hvd.load(run.path / "nowhere"), "not a run directory"),
    ],
)
def test_mistakes(digits, ask, what):
    with pytest.raises(bnn_hvd.UserError, match=what):
        ask(digits)


def test_horovod_is_never_imported(digits):
    code = f"import sys, bnn_hvd; bnn_hvd.load({str(digits.path)!r}).weights(1); print('horovod' in sys.modules)"
    assert running.python("-c", code, fresh=True).stdout.split() == ["False"]


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A run on two real targets, predicted by the command line, and one on ratings."""
    folder = tmp_path_factory.mktemp("others")
    rows = np.random.default_rng(0).normal(size=[40, 4])
    np.savetxt(folder / "rows.csv", rows, delimiter=",", header="a,b,c,d", comments="")
    table = ("--dataset=table", f"--data_dir={folder / 'rows.csv'}", "--target=c,d", "--architecture=linear")
    sizes = ("--dataset=synthetic_ratings", "--num_users=11", "--num_items=7", "--num_factors=3", "--num_chains=2")
    hmc = ("--steps=8", "--hmc_burn_in_steps=2", "--hmc_leapfrog_steps=3")
    running.all_succeed(
        folder / "jobs",
        ["train", *table, "--method=ivon", "--steps=4", "--batch_size=8", f"--run={folder / 'columns'}"],
        ["predict", f"--run={folder / 'columns'}", f"--num_draws={DRAWS}", "--quantiles=0.9", "--mode=std"],
        ["train", *sizes, *hmc, f"--run={folder / 'ratings'}"],
    )
    return folder


def test_a_prediction_of_several_targets_is_that_of_the_command_line(others):
    run = bnn_hvd.load(others / "columns", threads=1)
    found = predictive(run)
    table = np.loadtxt(others / "rows.csv", delimiter=",", skiprows=1, dtype=np.float32)
    p = run.predict(table[found["row_N"], :2], num_draws=DRAWS)
    assert p.target_names == ("c", "d")
    for part in ("total", "aleatoric", "epistemic"):
        np.testing.assert_array_equal(getattr(p, part), found[f"{part}_std_ND"])
    np.testing.assert_array_equal(p.mean, found["mean_ND"])
    np.testing.assert_array_equal(p.quantile(0.9), found["quantiles_QND"][0])
    np.testing.assert_allclose(p.draws.mean(0), p.mean, rtol=1e-6)
    np.testing.assert_array_equal(p.draws.std(0), found["std_of_means_ND"])
    total = p.aleatoric_covariance + p.epistemic_covariance
    np.testing.assert_allclose(np.sqrt(np.einsum("ndd->nd", total)), p.total)
    with pytest.raises(bnn_hvd.UserError, match=r"predicts 2 real targets \(c, d\) can't be exported"):
        run.export(others / "saved")


def test_a_prediction_of_ratings_follows_from_its_draws(others):
    run = bnn_hvd.load(others / "ratings", threads=1)
    p = run.predict(np.array([4, 0, 10]), num_draws=DRAWS)
    draws = p.draws.astype(np.float64)
    assert draws.shape[1:] == (3, 7)
    assert len(draws) == p.num_draws > 1
    np.testing.assert_allclose(p.mean, draws.mean(0), atol=1e-6)
    np.testing.assert_allclose(p.aleatoric, entropies(draws).mean(0), atol=1e-6)
    np.testing.assert_allclose(p.total, entropies(draws.mean(0)), atol=1e-6)
    np.testing.assert_allclose(p.epistemic, p.total - p.aleatoric)
    assert p.epistemic.max() > 0
    np.testing.assert_array_equal(p.quantile(0.5), np.quantile(p.draws, 0.5, axis=0))
    np.testing.assert_array_equal(run.predict([[0]], num_draws=DRAWS).mean[0], p.mean[1])  # users have latents
    assert not np.allclose(p.mean[0], p.mean[1])
    for wrong in ([11], [-1], [0.5]):
        with pytest.raises(bnn_hvd.UserError, match="numbers of users of the run, 0 to 10"):
            run.predict(np.array(wrong))


def entropies(probs):
    return classification.entropy(np.stack([probs, 1 - probs], -1))
