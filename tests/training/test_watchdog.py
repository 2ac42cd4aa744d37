"""A stalled rank ends the job; a slow job goes on, however long its trajectories are. The clock is the test's own."""

import threading
from types import SimpleNamespace

import pytest

from bnn_hvd.training import watchdog
from bnn_hvd.training.watchdog import CHECKS, SLOWER, Place, Watchdog

TIMEOUT_S = 80.0
PLACES = [
    Place("alpha", ["10.0.0.1"], "lock"),
    Place("beta", ["10.0.0.2", "10.1.0.2"], "lock"),
    Place("beta", [], "lock"),
]


class Job:
    """The watchdogs of three ranks, and their clock."""

    def __init__(self, folder, places=PLACES):
        self.now_s = 0.0
        ranks = [SimpleNamespace(rank=rank, size=3, is_root=rank == 0) for rank in range(3)]
        self.unanswered = {rank: [] for rank in range(3)}  # addresses, by the rank that misses an answer
        self.dogs = [
            Watchdog(folder, rank, TIMEOUT_S, places, lambda: self.now_s, lambda rank=rank: self.unanswered[rank.rank])
            for rank in ranks
        ]
        self.alive = set(self.dogs)

    def enter(self, kind: str, units: int = 1) -> None:
        for dog in self.dogs:
            dog.enter(kind, f"{units} of {kind}", units)

    def wait(self, seconds: float) -> tuple[float, str]:
        """Let time pass until a rank ends the job; returns how much has passed, and what the rank says."""
        start = self.now_s
        while self.now_s < start + seconds:
            self.now_s += TIMEOUT_S / CHECKS
            for dog in self.dogs:
                if dog in self.alive and (report := dog.check()):
                    return self.now_s - start, report
        return seconds, ""


@pytest.fixture
def job(tmp_path) -> Job:
    return Job(tmp_path)


def test_a_trajectory_that_is_longer_than_the_time_out_goes_on(job):
    for _ in range(3):
        job.enter("steps")
        assert job.wait(20 * TIMEOUT_S) == (20 * TIMEOUT_S, "")


@pytest.mark.parametrize("kind", ["first call", "steps"])
@pytest.mark.parametrize("before", [0, 1, 9])
def test_a_rank_that_stalls_is_named_within_the_patience(job, kind, before):
    """A stall takes SLOWER times as long as the longest phase of its kind so far, or else the time-out."""
    if before:
        job.enter(kind)
        job.wait(before * TIMEOUT_S)
    job.enter(kind)
    job.alive.remove(job.dogs[1])
    waited_s, report = job.wait(10**4 * TIMEOUT_S)
    assert "; stalled: rank 1. The last checkpoint is kept" in report
    patience_s = max(1, SLOWER * before) * TIMEOUT_S
    assert patience_s <= waited_s <= patience_s + TIMEOUT_S


def test_a_rank_that_stalls_after_its_first_notes_is_named(job):
    """The first phase of its kind has no patience to follow; ranks go on leaving notes."""
    job.enter("steps")
    assert job.wait(10 * TIMEOUT_S)[1] == ""
    job.alive.remove(job.dogs[2])
    waited_s, report = job.wait(10**4 * TIMEOUT_S)
    assert "stalled: rank 2." in report
    assert waited_s <= 2 * TIMEOUT_S


def test_the_patience_is_that_of_as_many_steps(job):
    job.enter("steps", units=1)
    job.wait(TIMEOUT_S)
    job.enter("steps", units=10)
    waited_s, report = job.wait(10**4 * TIMEOUT_S)
    assert 10 * SLOWER * TIMEOUT_S <= waited_s <= (10 * SLOWER + 1) * TIMEOUT_S
    assert "every rank still answers through the file system: rank 1 on " in report
    assert ", in 10 of steps for " in report


def test_phases_of_one_kind_say_nothing_of_another(job):
    job.enter("evaluation")
    job.wait(20 * TIMEOUT_S)
    job.enter("checkpoint")
    job.enter("steps")
    job.enter("checkpoint")
    assert job.wait(10**4 * TIMEOUT_S)[0] <= 2 * TIMEOUT_S


def test_notes_of_a_phase_that_was_slow_do_not_stay(job, tmp_path):
    job.enter("steps")
    job.wait(3 * TIMEOUT_S)
    assert (tmp_path / ".waiting").is_dir()
    job.dogs[0].forget()
    assert list(tmp_path.iterdir()) == []


def test_a_job_without_a_stall_writes_nothing(job, tmp_path):
    for _ in range(100):
        job.enter("steps")
        job.wait(TIMEOUT_S / 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [0, 1])
def test_a_lost_network_is_named_though_every_rank_answers_through_the_file_system(job, before):
    """One of the ranks, not the one that reports, misses answers; nobody knows how long a first phase takes."""
    for _ in range(before):
        job.enter("steps")
        job.wait(TIMEOUT_S)
    job.enter("steps")
    job.unanswered[2] = ["10.0.0.2", "10.0.0.9"]
    waited_s, report = job.wait(10**4 * TIMEOUT_S)
    assert waited_s <= (SLOWER if before else 1) * TIMEOUT_S + TIMEOUT_S
    assert "has no answer from beta (10.0.0.2) and 10.0.0.9; every rank still answers through the file" in report
    assert "the network between hosts is gone" in report


def test_without_a_shared_file_system_nobody_is_taken_for_stalled(tmp_path):
    """Rank 2 sees no run directory, and leaves no notes: rank 0 does not miss them, and it does not miss those of 0."""
    (tmp_path / "run").mkdir()
    job = Job(tmp_path / "run", [*PLACES[:2], Place("gamma", [], "")])
    job.enter("steps")
    assert job.wait(20 * TIMEOUT_S)[1] == ""  # it may take long
    job.enter("steps")
    reports = []
    while len(reports) < 2:
        reports.append(job.wait(10**4 * TIMEOUT_S)[1])
        job.alive = {job.dogs[2]}
    assert all("nobody knows which ranks still answer" in report for report in reports), reports
    assert [report.split(" on ")[0] for report in reports] == ["rank 0", "rank 2"]
    assert len(list((tmp_path / "run" / ".waiting").iterdir())) == 2


def test_rank_0_says_once_that_a_host_no_longer_answers(tmp_path, monkeypatch, capfd):
    """Its thread looks again and again; the address answers again, and is lost again."""
    monkeypatch.setattr(watchdog, "LOOK_S", 0.001)
    looks, done = iter([[], ["10.0.0.1"], ["10.0.0.1"], ["10.0.0.1", "10.0.0.2"], [], ["10.0.0.2"]]), threading.Event()

    def unanswered():
        found = next(looks, None)
        if found is None:
            done.set()
        return found or []

    rank = SimpleNamespace(rank=0, size=2, is_root=True)
    with Watchdog(tmp_path, rank, TIMEOUT_S, PLACES, unanswered=unanswered):
        assert done.wait(10)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(" has no answer from ")[1] for line in lines] == [
        f"{host}: the network between them is down, or the host is" for host in ("alpha (10.0.0.1)", "beta (10.0.0.2)")
    ]
