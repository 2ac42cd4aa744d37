"""Runs that lose ranks: the simulation against closed forms, and the intervals between checkpoints."""

import math

import numpy as np
import pytest
from scipy.special import lambertw

from bnn_hvd.studies.scaling import failures
from bnn_hvd.studies.scaling.failures import Costs


def test_without_failures_the_time_is_that_of_steps_and_checkpoints():
    costs = Costs(checkpoint_s=3.0, restart_s=50.0, mtbf_s=math.inf)
    outcome = failures.simulate(100.0, np.array([10.0, 30.0, 100.0]), costs, 4, 0)
    assert (outcome.wall_s == np.array([[130.0], [112.0], [103.0]])).all()  # 10, 4 (the last one shorter), 1
    assert not outcome.failures.any()
    assert failures.expected_s(100.0, 10.0, costs) == pytest.approx(130.0)


@pytest.mark.parametrize(
    ("interval_s", "restart_s", "mtbf_s"), [(100.0, 20.0, 300.0), (50.0, 200.0, 150.0), (400.0, 0.0, 300.0)]
)
def test_the_mean_is_that_of_the_closed_form(interval_s, restart_s, mtbf_s):
    """Daly's equation 20 is exact for exponential times. A false fail beyond five standard errors: 6e-7."""
    costs = Costs(10.0, restart_s, mtbf_s)
    wall_s = failures.simulate(2000.0, np.array([interval_s]), costs, 4000, 0).wall_s
    error = wall_s.std() / math.sqrt(wall_s.size)
    assert abs(wall_s.mean() - failures.expected_s(2000.0, interval_s, costs)) < 5 * error
    assert error < 0.02 * wall_s.mean()


def test_failures_are_as_frequent_as_their_rate_says():
    """All of the time is exposed: the failures are Poisson, of mean wall / M. Five standard errors."""
    costs = Costs(10.0, 20.0, 300.0)
    outcome = failures.simulate(2000.0, np.array([100.0]), costs, 4000, 1)
    expected = outcome.wall_s.mean() / 300.0
    assert abs(outcome.failures.mean() - expected) < 5 * math.sqrt(expected / 4000)


@pytest.mark.parametrize("ratio", [1e-4, 1e-3, 1e-2, 0.1])
def test_dalys_interval_is_near_the_optimum_and_youngs_farther(ratio):
    """d/dt of the closed form is zero at t = M (1 + W(-exp(-1 - C / M))), with Lambert's W."""
    costs = Costs(ratio, 0.0, 1.0)
    exact = 1 + lambertw(-math.exp(-1 - ratio)).real
    assert failures.daly(costs) == pytest.approx(exact, rel=0.01)
    assert abs(failures.young(costs) - exact) > abs(failures.daly(costs) - exact)
    times = [failures.expected_s(1.0, factor * exact, costs) for factor in (0.99, 1.0, 1.01)]
    assert times[1] == min(times)


def test_dalys_interval_where_a_checkpoint_takes_longer_than_the_jobs_live():
    assert failures.daly(Costs(10.0, 0.0, 4.0)) == 4.0


def test_the_same_failures_meet_all_intervals():
    costs = Costs(5.0, 10.0, 200.0)
    one, two = failures.simulate(1000.0, np.array([50.0, 50.0]), costs, 50, 3).wall_s
    assert (one == two).all()
