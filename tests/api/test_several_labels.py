"""Examples with a label per pixel, from training to figures and a served model. The oracle is numpy on the draws."""

import contextlib
import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import running
import tensorflow as tf

import bnn_hvd
from bnn_hvd import plots
from bnn_hvd.metrics import classification, selective

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import keras_zoo

DRAWS = 3
RNG = np.random.default_rng(0)
X, NAMES = RNG.normal(size=[24, 8, 8, 1]).astype(np.float32), ("ice", "land", "sea")
NUMBERS = (X[..., 0] > 0.3).astype(int) + (X[..., 0] > -0.3)
WORDS, REALS = np.array(NAMES)[NUMBERS], 10 + 5 * X[..., 0]
TRAIN = {"network": keras_zoo.unet, "method": "ivon", "steps": 3, "batch_size": 8, "eval_draws": 2, "threads": 1}


def data_of(y, train=16):
    return X[:train], y[:train], X[train:], y[train:]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on words for each pixel, after `predict`."""
    made = bnn_hvd.train(data=data_of(WORDS), run=tmp_path_factory.mktemp("maps") / "run", **TRAIN)
    made.evaluate(num_draws=DRAWS, keep_draws="all", quantiles="0.5", check_draws=100)
    return made


def read(run, name="predictive.npz"):
    with np.load(run.path / name) as arrays:
        return dict(arrays)


def test_uncertainties_and_scores_are_those_of_each_pixel(run):
    found, report = read(run), running.read_json(run.path, "uncertainty.json")
    draws, labels = found["draws_SNC"], NUMBERS[16:]
    assert draws.shape == (DRAWS, 8, 8, 8, 3)
    np.testing.assert_allclose(found["probs_NC"], draws.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["predictive_entropy_N"], classification.entropy(draws.mean(0)), atol=1e-5)
    np.testing.assert_allclose(found["expected_entropy_N"], classification.entropy(draws).mean(0), atol=1e-5)
    np.testing.assert_allclose(found["probs_quantiles_QNC"], np.median(draws, axis=0)[None], atol=1e-6)
    np.testing.assert_array_equal(found["labels_N"], labels)
    mean = found["probs_NC"]
    assert report["accuracy"] == pytest.approx((mean.argmax(-1) == labels).mean())
    picked = np.take_along_axis(mean, labels[..., None], -1)
    assert report["nll"] == pytest.approx(-np.log(picked).mean())
    assert report["ece"] == pytest.approx(classification.ece(mean.reshape(-1, 3), labels.reshape(-1)))
    assert report["single_draw_accuracy"] == pytest.approx((draws.argmax(-1) == labels).mean(), abs=1e-6)
    assert report["num_labelled"] == 8 * 64
    wrong = mean.argmax(-1).ravel() != labels.ravel()
    expected = selective.aurc(found["predictive_entropy_N"].ravel(), wrong)
    assert report["selective"]["entropy"]["aurc"] == pytest.approx(expected)
    assert np.isfinite(report["posterior_check"]["pareto_k"])
    means = found["predictive_entropy_N"].mean((1, 2))
    np.testing.assert_array_equal(found["map_index_K"], np.argsort(-means)[:6])
    evaluated = [row for row in run.metrics if row["kind"] == "eval"][-1]
    assert 0 < evaluated["nll"] < 3  # per label


def test_a_row_of_the_csv_has_the_means_of_its_pixels(run):
    found = read(run)
    rows = list(csv.DictReader((run.path / "predictions.csv").open()))
    for row, probs, entropy, label in zip(
        rows, found["probs_NC"], found["predictive_entropy_N"], NUMBERS[16:], strict=True
    ):
        assert float(row["fraction_land"]) == pytest.approx(probs[..., 1].mean(), rel=1e-5)
        assert float(row["total"]) == pytest.approx(entropy.mean(), rel=1e-5)
        assert float(row["accuracy"]) == pytest.approx((probs.argmax(-1) == label).mean(), rel=1e-5)


def test_the_api_has_the_axes_of_the_pixels(run):
    p, found = run.predict(X[16:], num_draws=DRAWS), read(run)
    np.testing.assert_array_equal(p.draws, found["draws_SNC"])
    for values, name in (
        (p.mean, "probs_NC"),
        (p.total, "predictive_entropy_N"),
        (p.epistemic, "mutual_information_N"),
    ):
        np.testing.assert_array_equal(values, found[name])
    np.testing.assert_array_equal(p.labels, np.array(NAMES)[p.mean.argmax(-1)])
    assert p.quantile(0.9).shape == (8, 8, 8, 3)


def test_the_figures_are_those_that_have_a_meaning(run):
    of_predict = [name for name, row in plots.FIGURES.items() if row.written_by == "predict"]
    drawn = {}
    for name in of_predict:
        with contextlib.suppress(bnn_hvd.UserError):
            drawn[name] = run.plot(name)
    assert drawn.keys() == {"uncertainty_maps", "reliability", "uncertainty_histogram", "risk_coverage"}
    assert "512 labels" in drawn["reliability"].axes[0].get_title()
    assert "nats per label" in [axes.get_ylabel() for axes in run.plot("learning_curves").axes]
    figure = drawn["uncertainty_maps"]
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["input", "label", "prediction", "total [nats]", "aleatoric [nats]", "epistemic [nats]"]
    most = read(run)["map_index_K"][0]
    shown = figure.axes[5].images[0].get_array()  # epistemic, of the first row
    np.testing.assert_array_equal(shown, read(run)["mutual_information_N"][most])


def test_labels_of_some_pixels_are_scored_alone(run, tmp_path):
    y = WORDS[16:].copy()
    y[:, :4] = ""
    np.savez(tmp_path / "half.npz", x=X[16:], y=y)
    report = run.evaluate(num_draws=DRAWS, data_dir=str(tmp_path / "half.npz"), check_draws=0)
    mean = run.predict(X[16:], num_draws=DRAWS).mean
    assert report["num_labelled"] == 8 * 32
    assert report["accuracy"] == pytest.approx((mean.argmax(-1) == NUMBERS[16:])[:, 4:].mean())
    np.savez(tmp_path / "wrong.npz", x=X[16:], y=WORDS[16:, 0])
    with pytest.raises(bnn_hvd.UserError, match=r"labels of shape \[8\], the run 3 classes at 8 x 8 places"):
        run.evaluate(num_draws=DRAWS, data_dir=str(tmp_path / "wrong.npz"))
    with pytest.raises(bnn_hvd.UserError, match="--coverage and --calibrate are for one label per example"):
        run.evaluate(num_draws=DRAWS, coverage=0.9)
    np.savez(tmp_path / "none.npz", x=X[16:])
    assert run.evaluate(num_draws=DRAWS, data_dir=str(tmp_path / "none.npz"))["num_labelled"] == 0


def test_it_is_exported(run, tmp_path):
    run.export(tmp_path / "saved", num_draws=DRAWS, seed=5)
    found, p = tf.saved_model.load(str(tmp_path / "saved"))(X), run.predict(X, num_draws=DRAWS, seed=5)
    for name in ("mean", "total", "aleatoric", "epistemic", "draws"):
        np.testing.assert_allclose(found[name], getattr(p, name), rtol=2e-5, atol=2e-6)


def test_real_values_of_each_pixel(tmp_path):
    run = bnn_hvd.train(data=data_of(REALS), run=tmp_path / "run", likelihood="heteroscedastic", **TRAIN)
    report = run.evaluate(num_draws=DRAWS, keep_draws="all", quantiles="0.1", ood_data_dir=str(run.path / "data.npz"))
    found, p = read(run), run.predict(X[16:], num_draws=DRAWS)
    assert p.mean.shape == (8, 8, 8)
    means = found["draws_mean_SN"]
    np.testing.assert_allclose(p.mean, means.mean(0), rtol=1e-6)
    np.testing.assert_allclose(p.epistemic, means.std(0), rtol=1e-6)
    np.testing.assert_allclose(p.aleatoric**2, (found["draws_scale_SN"] ** 2).mean(0), rtol=1e-6)
    assert report["rmse"] == pytest.approx(np.sqrt(np.mean((p.mean - REALS[16:]) ** 2)))
    assert report["ood"]["auroc_epistemic"] == 0.5  # the same data
    np.testing.assert_array_equal(found["quantiles_QN"][0], p.quantile(0.1))
    rows = list(csv.DictReader((run.path / "predictions.csv").open()))
    assert float(rows[1]["rmse"]) == pytest.approx(np.sqrt(np.mean((p.mean - REALS[16:])[1] ** 2)), rel=1e-5)
    assert len(run.plot("uncertainty_maps").axes) > 6
    for name in ("predictions", "calibration", "rmse_over_coverage"):
        run.plot(name)
    run.export(tmp_path / "saved", num_draws=DRAWS)
    np.testing.assert_allclose(tf.saved_model.load(str(tmp_path / "saved"))(X[16:])["mean"], p.mean, rtol=1e-4)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"network": "lenet5"}, "one prediction per example, and these examples have 8 x 8 labels each"),
        ({"data": data_of(np.eye(3)[NUMBERS[:, 0, 0]])}, "is one-hot: it must be"),
        ({"data": (*data_of(WORDS)[:3], WORDS[16:, :4])}, r"labels of shape \[8, 8\] but y_test .* \[4, 8\]"),
        ({"data": data_of(WORDS[:, :4])}, r"outputs of the shape \['N', 8, 8, 3\]: these data need \[N, 4, 8, 3\]"),
        ({"augment": "crop"}, "not the labels of their pixels"),
        ({"method": "laplace"}, "laplace"),
        ({"likelihood": "gaussian_mixture", "data": data_of(REALS)}, "does not fit these data"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, changed, what):
    with pytest.raises(bnn_hvd.UserError, match=what):
        bnn_hvd.train(**TRAIN | {"data": data_of(WORDS), "run": tmp_path / "run"} | changed)
    assert not (tmp_path / "run").exists()
