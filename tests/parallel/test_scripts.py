"""The scripts in scripts/ succeed with one rank and with two."""

import re
from pathlib import Path

import pytest
import running

pytestmark = pytest.mark.parallel
SCRIPTS = Path(__file__).parent / "scripts"
RANKS = pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=running.needs_horovodrun)])


@RANKS
def test_gradients_are_averaged(ranks):
    """Two ranks with half a batch each make the same step as one rank with the whole batch."""
    job = running.python(SCRIPTS / "averages_gradients.py", ranks=ranks)
    assert job.returncode == 0, job.stdout + job.stderr
    for title in ("point", "vi, equal noise"):
        assert re.search(rf"{title} +{ranks} ranks: largest gradient", job.stdout), job.stdout


@RANKS
def test_the_log_posterior_is_that_of_all_the_data(ranks):
    """Differentiated through Horovod's own all-reduce, its gradient would be wrong."""
    job = running.python(SCRIPTS / "log_posterior_gradient.py", ranks=ranks)
    assert job.returncode == 0, job.stdout + job.stderr
    assert f"{ranks} ranks: difference" in job.stdout


@RANKS
def test_ranks_whose_graphs_differ_communicate_and_what_can_not_be_joined_is_refused(ranks):
    """Every layout of examples, chunks, threads and particles is random; a rank that waits for ever ends the test."""
    job = running.python(SCRIPTS / "uneven_layouts.py", ranks=ranks)
    assert job.returncode == 0, job.stdout + job.stderr
    assert len(re.findall(r"check_\w+ \d", job.stdout)) == 9, job.stdout


@RANKS
def test_collectives(ranks, tmp_path):
    job = running.python(SCRIPTS / "collectives.py", tmp_path, ranks=ranks)
    assert job.returncode == 0, job.stdout + job.stderr
    assert len(re.findall(rf"check_\w+ with {ranks}", job.stdout)) == 14, job.stdout
