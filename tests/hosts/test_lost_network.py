"""A network or a host is lost: the job ends on all hosts, says which, and its restart ends as if nothing had been."""

import time

import jobs
import pytest
import running

from bnn_hvd.run import records


def began(run):
    return lambda: (run / records.CONFIG).exists()


def timings(run):
    return records.read_jsonl(run / records.TIMINGS)


def first_evaluation(bed):
    """Return the step after which the run evaluates for the first time."""
    return next(row["step"] for row in timings(bed.folder / "reference") if row["phase"] == "eval")


MOMENTS = {"start": began, "step": lambda run: jobs.past(run, 20)}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_link_that_goes_down(bed, reference, moment):
    run = bed.folder / f"down_{moment}"
    job = jobs.start(bed, run)
    jobs.until(job, MOMENTS[moment](run))
    bed.hosts[1].link("down")
    check_ended(bed, run, job)
    check_resumed(bed, run, reference)


def evaluates(bed, run):
    """Return a condition: rank 0 has made the last step before the first evaluation, which takes seconds."""
    step = first_evaluation(bed)
    return lambda: [(row["step"], row["phase"]) for row in timings(run)[-1:]] == [(step, "train")]


def writes(bed, run):
    """Return a condition: rank 0 writes a checkpoint, and not the first."""
    return lambda: running.newest_step(run) and list((run / records.CHECKPOINTS).glob(".*.tmp"))


PHASES = {  # a condition of it, flags that make it longer or more frequent, and what is logged of the step
    "evaluation": (evaluates, "--eval_draws=3000", ["train"]),  # the evaluation does not end
    "checkpoint": (writes, "--checkpoint_every_steps=1", ["train", "checkpoint"]),  # rank 0 ends it, and no other step
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_link_that_goes_down_in_a_phase(bed, reference, phase):
    condition, flag, logged = PHASES[phase]
    run = bed.folder / f"down_{phase}"
    job = jobs.start(bed, run, flag)
    cut_during(bed, job, condition(bed, run))
    step = timings(run)[-1]["step"]
    check_ended(bed, run, job)
    assert timings(run)[-1]["step"] == step
    assert [row["phase"] for row in timings(run) if row["step"] == step] == logged
    check_resumed(bed, run, reference, flag)


def cut_during(bed, job, condition):
    """Take the link of h1 down while rank 0 stands still in a phase, which a condition tells."""
    while True:
        jobs.until(job, condition)
        rank = jobs.rank_on(bed.hosts[0])
        rank.suspend()
        if found := condition():
            bed.hosts[1].link("down")
        rank.resume()
        if found:
            return


def check_ended(bed, run, job):
    """Check that a job whose link is down ends on all hosts, and names the one that does not answer."""
    assert bed.end(job, jobs.STALL_S + jobs.END_S) not in (0, 2, 75)
    said = jobs.output(run)
    assert "has no answer from h1 (10.77.0.2)" in said or "has no answer from h0 (10.77.0.1)" in said


def check_resumed(bed, run, reference, *flags):
    """Check that the restart ends as the run that was never interrupted."""
    bed.hosts[1].link("up")
    jobs.finish(bed, run, *flags)
    jobs.check_whole(run)
    assert jobs.weights(run) == reference


def test_a_link_that_comes_back_is_no_fault(bed, reference):
    run = bed.folder / "back"
    job = jobs.start(bed, run, stall_s=600)
    jobs.until(job, jobs.past(run, 20))
    bed.hosts[1].link("down")
    time.sleep(5)
    bed.hosts[1].link("up")
    assert bed.end(job, running.TIMEOUT_S) == 0, jobs.output(run)
    assert "warning: rank 0 on h0 has no answer from h1 (10.77.0.2): the network between them" in jobs.output(run)
    assert jobs.weights(run) == reference
    assert len(running.read_json(run, records.PROVENANCE)) == 1  # one session


@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_that_vanishes(bed, reference, lost):
    """The restart is on two other hosts. Where the first host vanishes, nobody is left who could say so."""
    run = bed.folder / f"vanished{lost}"
    job = jobs.start(bed, run)
    jobs.until(job, jobs.past(run, 20))
    bed.hosts[lost].vanish()
    assert bed.end(job, jobs.STALL_S + jobs.END_S) not in (0, 2, 75)
    if lost == 1:
        assert "has no answer from h1 (10.77.0.2)" in jobs.output(run)
    jobs.check_whole(run)
    jobs.finish(bed, run, hosts=bed.hosts[2:])
    assert jobs.weights(run) == reference
