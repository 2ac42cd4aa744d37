"""Verdicts on logs whose end is known, and on short runs."""

import re

import numpy as np
import pytest
import running

from bnn_hvd.metrics import convergence


def rows(steps=1000, every=10, fall=0.0, noise=0.0, loss=0.5, **pulls):
    """Return rows whose loss falls by `fall` over each tenth of training, with Normal noise on each row."""
    random = np.random.default_rng(0)
    ends = range(every, steps + 1, every)
    return [
        {"step": end, "learning_rate": 1 - end / steps, "nll": loss}
        | {"loss": loss + fall * 10 * (1 - end / steps) + noise * random.normal()}
        | pulls
        for end in ends
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


def test_at_a_constant_learning_rate_the_course_of_the_loss_is_extrapolated():
    """Loss 2 - 0.1 ln(steps), with noise in which the last tenth shows nothing: a doubling lowers it by 0.1 ln 2."""
    random = np.random.default_rng(0)
    log = [
        {"step": step, "learning_rate": 1e-3, "nll": 0.5, "loss": 2 - 0.1 * np.log(step) + 0.01 * random.normal()}
        for step in range(100, 10_001, 100)
    ]
    fall, error = convergence.fall_of_doubling(log)
    assert fall == pytest.approx(0.1 * np.log(2), abs=4 * error)  # false fail: 1e-4
    assert 0.001 < error < 0.01
    assert re.search("twice as many epochs would lower the loss by about 0.0", convergence.of_descent(log).why)
    decaying = [row | {"learning_rate": 1 / row["step"]} for row in log]
    assert convergence.fall_of_doubling(decaying) == (0.0, 0.0)
    assert convergence.of_descent(decaying).converged


def test_a_fall_is_compared_with_the_likelihood_where_the_loss_has_no_kl():
    """The prior's normalisation makes the loss of a point network large, and does not change."""
    log = [row | {"loss": row["loss"] + 100.0} for row in rows(fall=0.1)]
    assert not convergence.of_descent(log).converged
    assert convergence.of_descent([row | {"kl": 1.0} for row in log]).converged


def test_a_run_that_was_stopped_has_the_verdict_of_one_that_was_not():
    """Rows end at every 100th step and at the epochs of 150 steps; a stop after step 730 and a checkpoint cut two."""
    random = np.random.default_rng(0)
    loss = random.normal(size=900)
    ends = sorted({*range(100, 901, 100), *range(150, 901, 150)})

    def log(ends):
        starts = [300, *ends]
        return [
            {"step": end, "epoch": end / 150, "loss": loss[start:end].mean(), "scale_pull": 2 * loss[start:end].mean()}
            for start, end in zip(starts, ends, strict=False)
        ]

    whole = [end for end in ends if end > 300]
    expected = convergence.uncut(log(whole), 300, 100)
    found = convergence.uncut(log(sorted({*whole, 330, 730})), 300, 100)
    assert [row["step"] for row in found] == [end - 300 for end in whole]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-12)


def test_a_kernel_that_has_not_arrived_is_named():
    log = rows(**FLAT, **{"scale_pull/dense1/kernel": 0.05, "scale_pull/logits/kernel": -0.3})
    verdict = convergence.of_descent(log)
    assert "16% too narrow in logits/kernel" in verdict.why
    assert verdict.parts["scale_pull/logits/kernel"] == pytest.approx(-0.3)


def test_twice_as_many_epochs_must_not_lower_the_loss():
    assert convergence.of_descent(rows(), {"loss_before": 0.52}).converged
    assert (
        "last doubling of training lowered the loss by 0.1" in convergence.of_descent(rows(), {"loss_before": 0.6}).why
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"moments_drift": 2.5}, "move in one direction.*train for more"),
        ({"missing_spread": 0.5}, "^so few members show only about 50% of the epist.*: raise --num_particles$"),
        ({"moments_drift": 1.2, "missing_spread": 0.2}, "^$"),
    ],
)
def test_the_signs_of_a_method_count(found, words):
    verdict = convergence.of_descent(rows(), found)
    assert re.search(words, verdict.why)
    assert verdict.converged is ("direction" not in words)  # more members are no matter of more training


@pytest.mark.parametrize(
    ("diagnostics", "converged"),
    [
        ({"log_posterior": {"r_hat": 1.01}}, True),
        ({"log_posterior": {"r_hat": 1.2}}, False),
        ({"log_posterior": {"r_hat": 1.01}, "predictions": {"r_hat_median": 1.3}}, False),
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
