"""A short soak (soak.py, `make soak`): a run that is interrupted at random moments ends as the uninterrupted one."""

import pytest
import running
import soak

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]


def test_a_run_that_is_killed_at_random_moments(tmp_path):
    (run,) = soak.soak(1, seed=5, folder=tmp_path, private=False, sizes=(2,))
    *interrupted, last = run.sessions
    assert all(session.fault for session in interrupted)
    assert (last.fault, last.code) == ("", 0)
    assert f"| {interrupted[0].fault} | 0 | " in soak.table([run])
