"""Verdicts on logs whose end is known, and on short runs."""

import re

import numpy as np
import pytest
import running

from bnn_hvd.training import convergence


def rows(steps=1000, every=10, fall=0.0, noise=0.0, loss=0.5, **pulls):
    """Return rows whose loss falls by `fall` over each tenth of training, with Normal noise on each row."""
    random = np.random.default_rng(0)
    ends = range(every, steps + 1, every)
    return [
        {"step": end, "loss": loss + fall * 10 * (1 - end / steps) + noise * random.normal()} | pulls for end in ends
    ]


FLAT = {"scale_pull": 0.02, "mean_pull": -0.03}


def test_a_flat_end_has_converged():
    verdict = convergence.of_descent(rows(**FLAT))
    assert verdict.converged
    assert verdict.why == ""
    assert verdict.parts["loss_fall"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (rows(fall=0.1), "loss still fell by 0.1 nats"),
        (rows(**FLAT | {"scale_pull": -0.4}), "22% too narrow.*uncertainty will rise"),
        (rows(**FLAT | {"scale_pull": 0.4}), "22% too wide.*uncertainty will fall"),
        (rows(**FLAT | {"mean_pull": -0.4}), "means of the weights still grow"),
        (rows(steps=10), "too short"),
    ],
)
def test_an_end_that_still_moves_has_not(log, words):
    verdict = convergence.of_descent(log)
    assert verdict.converged is False
    assert re.search(words, verdict.why)


def test_a_fall_within_the_noise_is_none():
    """The standard error of the mean of ten rows is 0.03; the fall of 0.03 is one of them."""
    assert convergence.of_descent(rows(fall=0.03, noise=0.1)).converged
    assert not convergence.of_descent(rows(fall=0.03, noise=0.001)).converged


def test_the_windows_are_the_last_two_tenths():
    late, before = convergence.windows(rows())
    assert [row["step"] for row in late] == list(range(910, 1001, 10))
    assert [row["step"] for row in before] == list(range(810, 901, 10))


def test_of_rows_that_are_longer_than_a_tenth_the_last_two_are_compared():
    late, before = convergence.windows(rows(steps=3, every=1))
    assert ([row["step"] for row in late], [row["step"] for row in before]) == ([3], [2])


@pytest.mark.parametrize(
    ("diagnostics", "converged"),
    [
        ({"log_posterior": {"r_hat": 1.01}}, True),
        ({"log_posterior": {"r_hat": 1.2}}, False),
        ({"log_posterior": {"r_hat": 1.01}, "outputs": {"r_hat_median": 1.3}}, False),
        ({"log_posterior": {"r_hat": None}}, False),
        ({}, False),
    ],
)
def test_chains_have_converged_when_they_agree(diagnostics, converged):
    assert convergence.judge("hmc", [], diagnostics).converged is converged


def test_laplace_refers_to_its_point_run():
    assert convergence.judge("laplace", [], {}).converged is None


@pytest.mark.parametrize("method", ["vi", "ivon"])
def test_a_run_says_that_it_has_not_converged_and_predict_repeats_it(method, tmp_path):
    run = tmp_path / "run"
    train = ["train", f"--method={method}", "--architecture=fc", "--epochs=2", f"--run={run}", "--eval_draws=1"]
    predict = ["predict", f"--run={run}", "--num_draws=2"]
    [[trained], [predicted]] = running.all_succeed(tmp_path / "job", train, predict)
    verdict = running.read_json(run)["convergence"]
    assert "not converged: the standard deviations are still" in verdict["why"]
    assert verdict["converged"] is False
    assert -1.05 < verdict["parts"]["scale_pull"] < -0.5  # -1 is the pull of the entropy, without that of the data
    assert verdict["why"] in trained.stdout
    assert verdict["why"] in predicted.stdout
