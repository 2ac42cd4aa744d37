"""The times of a step by rank, and the ranks that are stragglers."""

import pytest

from bnn_hvd.training.rank_times import Call, RankTime, rank_time, straggler_warning, stragglers, summary


def test_a_rank_s_own_work_is_its_step_without_communication():
    time = rank_time("node1", [Call(seconds=1.0, steps=100, communication_s=0.2), Call(0.5, 20, 0.1)])
    assert time == ("node1", pytest.approx(12.5), pytest.approx(10.0), pytest.approx(2.5))


def test_without_a_timed_call_there_is_no_time():
    times = [rank_time("node1", []), rank_time("node1", [])]
    assert summary(times) == {
        "hosts": ["node1", "node1"], "nodes": 1, "step_ms_by_rank": None, "compute_ms_by_rank": None,
        "communication_ms": None,
    }  # fmt: skip
    assert straggler_warning(times, 1.3) == ""


def test_summary_is_in_order_of_rank_and_counts_hosts_once():
    times = [RankTime("a", 10.0, 8.0, 2.0), RankTime("b", 10.0, 6.0, 4.0), RankTime("a", 10.0, 7.0, 3.0)]
    content = summary(times)
    assert content["nodes"] == 2
    assert content["hosts"] == ["a", "b", "a"]
    assert content["compute_ms_by_rank"] == [8, 6, 7]
    assert content["communication_ms"] == pytest.approx(3)


def test_a_straggler_is_above_the_median_by_the_factor():
    assert stragglers([10, 10, 10, 12.9], 1.3) == []
    assert stragglers([10, 10, 13.1, 10], 1.3) == [(2, pytest.approx(1.31))]
    assert stragglers([10], 1.0) == []
    assert stragglers([], 1.3) == []


def test_many_slow_ranks_do_not_hide_each_other():
    """Compared with the mean, 11 / 7, ranks at 3 would be slow by a factor of 1.91 only."""
    assert [rank for rank, _ in stragglers([1, 1, 1, 1, 1, 3, 3], 2.0)] == [5, 6]


def test_the_warning_names_rank_and_host():
    times = [RankTime(f"node{i}", 20.0, work, 20.0 - work) for i, work in enumerate([10.0, 19.0, 10.0])]
    warning = straggler_warning(times, 1.3)
    assert "rank 1 on node1: 1.90 times" in warning
    assert "node0" not in warning
