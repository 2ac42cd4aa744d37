"""The commands of benchmarks/scores.py are accepted by the program as it is; the runs themselves take minutes."""

import pytest

from benchmarks import scores
from bnn_hvd import cli

RUNS = [one for part in scores.PARTS.values() for one in part.runs if not any("{runs}" in word for word in one.train)]


@pytest.mark.parametrize("one", RUNS, ids=lambda one: one.name)
def test_the_flags_of_a_run_are_accepted(one, monkeypatch):
    monkeypatch.chdir(scores.REPOSITORY)  # of configs/
    cli.parse(cli.VERBS["train"].config_type, one.train)
    verb, *words = one.then
    cli.parse(cli.VERBS[verb].config_type, [*words, "--run=x"])


def test_few_runs_begin_with_another_and_are_not_checked_here():
    assert len(RUNS) > 20
