"""A short soak (soak.py, `make soak`): runs that are interrupted at random moments end as the uninterrupted one."""

import pytest
import running
import soak

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]


def test_runs_that_are_killed_at_random_moments(tmp_path):
    done = soak.soak(2, seed=3, folder=tmp_path, private=False)
    assert [run.ranks for run in done] == [1, 2]
    assert all(session.fault for run in done for session in run.sessions[:-1])
    assert "| SIGKILL of a rank |" in soak.table(done)
