"""Learning rate and KL weight over the epochs, compared with values by hand."""

import pytest

from bnn_hvd.config import compose
from bnn_hvd.config.schedule import ScheduleConfig
from bnn_hvd.training import schedules
from bnn_hvd.training.schedules import Place, Round


def at(part: float, step: float = 0.01) -> Place:
    """Return the place of a step in a run of one round, of which `part` is done."""
    return Place(part, part, step)


@pytest.mark.parametrize(
    ("lr_scaling", "epoch", "expected"),
    [
        ("none", 0.0, 0.1), ("none", 1.0, 0.1), ("none", 9.0, 0.1),
        ("linear", 0.0, 0.1), ("linear", 1.0, 0.25), ("linear", 1.5, 0.325), ("linear", 2.0, 0.4), ("linear", 7.0, 0.4),
        ("sqrt", 0.0, 0.1), ("sqrt", 1.0, 0.15), ("sqrt", 2.0, 0.2), ("sqrt", 7.0, 0.2),
    ],
)  # fmt: skip
def test_learning_rate_rises_linearly_from_that_of_one_rank_to_that_of_four(lr_scaling, epoch, expected):
    config = ScheduleConfig(learning_rate=0.1, lr_scaling=lr_scaling, lr_warmup_epochs=2.0)
    assert schedules.learning_rate(config, epoch, at(0.0), size=4) == pytest.approx(expected)


@pytest.mark.parametrize(("lr_scaling", "expected"), [("none", 0.1), ("linear", 0.9), ("sqrt", 0.3)])
def test_without_a_warm_up_the_learning_rate_is_scaled_at_once(lr_scaling, expected):
    assert schedules.learning_rate(
        ScheduleConfig(learning_rate=0.1, lr_scaling=lr_scaling), 0.0, at(0.0), 9
    ) == pytest.approx(expected)


@pytest.mark.parametrize("lr_scaling", ["none", "linear", "sqrt"])
def test_one_rank_has_the_learning_rate_of_the_flag_throughout(lr_scaling):
    config = ScheduleConfig(learning_rate=0.1, lr_scaling=lr_scaling, lr_warmup_epochs=2.0)
    assert {schedules.learning_rate(config, epoch, at(epoch / 5), 1) for epoch in (0.0, 0.7, 2.0, 5.0)} == {0.1}


@pytest.mark.parametrize(
    ("warmup", "epoch", "expected"),
    [
        (0.0, 0.0, 0.5),
        (0.0, 3.0, 0.5),
        (4.0, 0.0, 0.0),
        (4.0, 1.0, 0.125),
        (4.0, 2.5, 0.3125),
        (4.0, 4.0, 0.5),
        (4.0, 9, 0.5),
    ],
)
def test_kl_weight_rises_linearly_from_zero(warmup, epoch, expected):
    assert schedules.kl_weight(ScheduleConfig(kl_weight=0.5, kl_warmup_epochs=warmup), epoch) == pytest.approx(expected)


def test_a_cosine_falls_from_the_whole_rate_to_none():
    config = compose(learning_rate=0.2, lr_schedule="cosine", epochs=8, lr_scaling="none")
    found = [schedules.learning_rate(config.schedule, epoch, at(epoch / 8), 1) for epoch in (0, 2, 4, 8, 9)]
    assert found == pytest.approx([0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0, 0], abs=1e-12)


def test_a_tail_is_constant_and_then_a_line_to_none():
    config = ScheduleConfig(learning_rate=0.2, lr_schedule="tail")
    found = [schedules.learning_rate(config, 0.0, at(progress), 1) for progress in (0, 0.5, 0.75, 1, 1.1)]
    assert found == pytest.approx([0.2, 0.2, 0.1, 0, 0])


def test_steps_fall_by_a_factor_every_so_many_epochs():
    config = compose(lr_schedule="step", lr_step_epochs=2, lr_step_factor=0.1, steps=8, learning_rate=0.4)
    rates = [schedules.learning_rate(config.schedule, epoch, at(epoch / 8), 1) for epoch in (0, 1.99, 2, 3.99, 4, 5)]
    assert rates == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.004, 0.004])


def test_rounds_double_the_run_and_raising_it_keeps_those_before():
    assert schedules.rounds(80, until_converged=True) == [Round(0, 10), Round(10, 20), Round(20, 40), Round(40, 80)]
    assert schedules.rounds(160, until_converged=True)[:3] == [Round(0, 20), Round(20, 40), Round(40, 80)]
    assert schedules.rounds(3, until_converged=True) == [Round(0, 1), Round(1, 2), Round(2, 3)]
    assert schedules.rounds(1, until_converged=True) == [Round(0, 1)]
    assert schedules.rounds(80, until_converged=False) == [Round(0, 80)]


def test_the_rate_of_the_scales_goes_on_from_round_to_round_and_their_ceiling_is_of_the_first():
    """Of 1,000 steps a round: 16 / (steps so far), times a line to 0 from 65 % of each round on."""
    first, second = Place(0.5, 0.5, 1e-3), Place(0.5, 1.5, 1e-3)
    assert schedules.scale_rate(first) == pytest.approx(16 / 501)
    assert schedules.scale_rate(second) == pytest.approx(16 / 1501)
    assert schedules.scale_rate(Place(0.825, 1.825, 1e-3)) == pytest.approx(16 / 1826 / 2)
    assert schedules.scale_ceiling(first) == pytest.approx(0.5 / 0.65)
    assert schedules.scale_ceiling(Place(0.0, 1.0, 1e-3)) > 1
