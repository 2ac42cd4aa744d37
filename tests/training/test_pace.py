"""A call of the loop takes about a second, and all ranks make the same call."""

import numpy as np
import oracles
import pytest

from bnn_hvd.errors import TrainingError
from bnn_hvd.training import pace
from bnn_hvd.training.agreement import Outcome, agree

GOOD = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("step_s", "steps"), [(1e-4, 100), (0.01, 100), (0.02, 50), (0.2, 5), (0.7, 1), (60.0, 1), (float("inf"), 1)]
)
def test_a_call_takes_about_a_second_and_has_at_most_100_steps(step_s, steps):
    assert pace.steps_of_call(0, step_s) == steps
    assert pace.steps_of_call(7, step_s) == 7  # --steps_per_call=7


def test_all_ranks_take_the_pace_of_the_slowest_and_stop_together():
    def agreed(stopped: int | None) -> list[tuple[bool, float]]:
        def outcome(rank: int) -> Outcome:
            return Outcome(steps_before=10, loss_here_T=GOOD, step_s=[0.1, 0.5, 0.2][rank], stop=rank == stopped)

        return oracles.run_ranks(3, lambda r: agree(outcome(r.rank), r))

    assert agreed(None) == [(False, 0.5)] * 3
    assert agreed(2) == [(True, 0.5)] * 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_on_one_rank_ends_all(value):
    bad = np.array([1, value, 1], np.float32)
    with pytest.raises(TrainingError, match=r"not finite at step 12 on rank 1.*Or so"):
        oracles.run_ranks(3, lambda r: agree(Outcome(10, bad if r.rank == 1 else GOOD, 0.1, False), r, "Or so"))
