"""`scale --simulate`: stragglers against closed forms, and a simulation from run directories."""

import csv
import math

import numpy as np
import pytest
from test_study import LINK, rows_of, scale, write_run

from bnn_hvd.config import ScaleConfig, make
from bnn_hvd.errors import UserError
from bnn_hvd.run import records
from bnn_hvd.studies.scaling import collect, model, simulate, stragglers
from bnn_hvd.studies.scaling.stragglers import Spread

ALIKE = np.ones(1)
HALVES = 1e-6 * (np.arange(1_000_000) + 0.5)  # quantiles


@pytest.mark.parametrize("ranks", [1, 2, 4, 64])
def test_the_slowest_of_exponentials(ranks):
    """E max of p is 1 + 1/2 + ... + 1/p, its variance 1 + 1/4 + ... + 1/p^2; five standard errors."""
    found = stragglers.slowest(Spread(-np.log(HALVES), ALIKE), ranks, 20_000, 0)
    expected, variance = (sum(1 / k**power for k in range(1, ranks + 1)) for power in (1, 2))
    assert abs(found.mean() - expected) < 5 * math.sqrt(variance / len(found))


@pytest.mark.parametrize(
    ("ranks", "expected"), [(2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi)), (100, 2.50759)]
)
def test_the_slowest_of_normals(ranks, expected):
    """The order statistics of Normals (Tippett 1925); their standard deviations are below 0.83."""
    normals = np.random.default_rng(0).normal(size=1_000_000)
    found = stragglers.slowest(Spread(10 + normals, ALIKE), ranks, 20_000, 0)
    assert abs(found.mean() - 10 - expected) < 5 * 0.83 * math.sqrt(1 / 20_000 + 1e-6 * ranks)


def test_a_rank_that_is_always_slow_is_waited_for_in_every_step():
    found = stragglers.slowest(Spread(np.array([0.9, 1.1]), np.array([1.0, 1.0, 1.0, 2.0])), 1000, 50, 0)
    assert (found == 2.2).all()  # of about 250 ranks of factor 2, one draws 1.1


def test_blocks_of_ranks_change_nothing(monkeypatch):
    spread = Spread(np.random.default_rng(1).gamma(2.0, size=1000), ALIKE)
    whole = stragglers.slowest(spread, 300, 4000, 0).mean()
    monkeypatch.setattr(stragglers, "BLOCK", 4000 * 7)
    assert stragglers.slowest(spread, 300, 4000, 0).mean() == pytest.approx(whole, rel=0.01)


def measured_run(path, ranks=1, **more):
    """Write a run of 101 steps of 10 ms, of which every tenth has taken 19 ms and the others 9."""
    write_run(path, ranks, (10.0,) * ranks, batch_size=64, **more)
    times = [0.019 if step % 10 == 0 else 0.009 for step in range(100)]
    rows = [
        {"phase": "train", "steps": 1, "seconds": t, "communication_s": 0.0, "step": 2 + i} for i, t in enumerate(times)
    ]
    rows.append({"phase": "checkpoint", "seconds": 2.0, "step": 101})
    records.append_jsonl(path / records.TIMINGS, *rows)
    scores = [(50, 0.5), (101, 0.9)]
    records.append_jsonl(path / records.METRICS, *({"kind": "eval", "step": s, "accuracy": a} for s, a in scores))
    return path


def simulated(paths, mode="weak", link=LINK, **flags):
    given = {"run": "s", "mode": mode, "simulate": True, "simulated_steps": 1_000_000, **flags}
    return simulate.simulate(rows_of(paths), collect.read_all(paths), mode, link, make(ScaleConfig, **given))


def test_a_simulation_of_weak_scaling(tmp_path):
    found = {one.ranks: one for one in simulated([measured_run(tmp_path / "1")], node_mtbf_h=1000.0)}
    assert list(found) == [2**k for k in range(14)] + [10_000]
    alone, many = found[1], found[10_000]
    assert (alone.waiting_ms, alone.communication_ms, alone.measured_ms) == (0, 0, pytest.approx(10))
    # The slower of two takes 1.9 times the mean with probability 0.19, else 0.9 times: five standard errors.
    assert found[2].waiting_ms == pytest.approx(
        10 * (0.19 * 1.9 + 0.81 * 0.9 - 1), abs=5 * 10 * math.sqrt(0.19 * 0.81 / 2000)
    )
    assert many.waiting_ms == pytest.approx(9)  # one of 10,000 is always among the slow tenth
    agree_s, reduce_s = model.coordination_s(10_000, 1e-6), model.allreduce_s(10_000, 4000, 1e-6, 1e-9)
    assert many.communication_ms == pytest.approx(1e3 * (agree_s + reduce_s))
    assert (many.steps, many.mtbf_h) == (100, 0.1)
    assert alone.steps == 1_000_000
    assert alone.hours == pytest.approx((1e4 + 2 * math.ceil(1e4 / alone.best_s)) / 3600, rel=0.01)  # hardly a failure
    shares = many.node_hours - many.checkpoint_node_hours - many.lost_node_hours
    assert shares == pytest.approx(10_000 * 100 * many.step_ms / 3.6e6)


def test_the_best_interval_is_near_dalys(tmp_path):
    """The expected time is flat there: at the simulated interval it is within 1 % of its minimum."""
    found = simulated([measured_run(tmp_path / "1")], node_mtbf_h=1000.0, simulated_steps=10**10)
    for one in found[4:10]:
        costs = simulate.Costs(2.0, 120.0, 3600 * one.mtbf_h)
        times = [simulate.failures.expected_s(1.0, each, costs) for each in (one.best_s, one.daly_s)]
        assert times[0] < 1.01 * times[1]
        assert one.failures > 1


def test_a_run_that_fails_faster_than_it_works_does_not_end(tmp_path):
    found = simulated([measured_run(tmp_path / "1")], node_mtbf_h=10.0, simulated_steps=10**10, checkpoint_s=600.0)
    assert math.isinf(found[-1].hours)
    assert "inf" in simulate.table(found)


def test_strong_scaling_ends_with_the_examples_and_stops_at_the_accuracy(tmp_path):
    found = simulated([measured_run(tmp_path / "1")], mode="strong", accuracy=0.4)
    assert [one.ranks for one in found] == [1, 2, 4, 8, 16, 32, 64]
    assert {one.steps for one in found} == {round(1e6 * 50 / 101)}
    with pytest.raises(UserError, match="no run has reached --accuracy="):
        simulated([tmp_path / "1"], accuracy=0.95)


def test_runs_without_a_checkpoint_need_the_seconds_of_one(tmp_path):
    with pytest.raises(UserError, match="--checkpoint_s gives the seconds"):
        simulated([write_run(tmp_path / "1")])
    assert simulated([tmp_path / "1"], checkpoint_s=3.0)


def test_the_command_writes_the_table_and_the_figure(tmp_path, capsys):
    measured_run(tmp_path / "runs" / "1")
    words = (f"--runs={tmp_path}/runs/*", f"--run={tmp_path}/study", "--mode=weak", "--simulate")
    assert scale(*words) == 2
    assert "--simulate is of runs without --particles, and needs a network" in capsys.readouterr().err
    assert scale(*words, "--interconnect=hdr", "--simulated_steps=100000") == 0
    with (tmp_path / "study" / "simulation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["ranks"]) for row in rows][-1] == 10_000
    assert (tmp_path / "study" / "simulation_CNN_conv.png").stat().st_size > 10_000
    assert "Daly s" in capsys.readouterr().out
