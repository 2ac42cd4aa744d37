"""A network or a host is lost: the job ends on all hosts, says which, and its restart ends as if nothing had been."""

import time

import jobs
import pytest
import running

from bnn_hvd.run import records


def began(run):
    return lambda: (run / records.CONFIG).exists()


def evaluates(run):
    """Return a condition: rank 0 has made the last step before the first evaluation, which takes seconds."""
    return lambda: any(row["step"] == 89 for row in records.read_jsonl(run / records.TIMINGS))


def writes(run):
    """Return a condition: rank 0 writes a checkpoint, and not the first."""
    return lambda: running.newest_step(run) and list((run / records.CHECKPOINTS).glob(".*.tmp"))


MOMENTS = {
    "start": (began, ()),
    "step": (lambda run: jobs.past(run, 20), ()),
    "evaluation": (evaluates, ("--eval_draws=3000",)),
    "checkpoint": (writes, ("--checkpoint_every_steps=1",)),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_link_that_goes_down(bed, reference, moment):
    condition, flags = MOMENTS[moment]
    run = bed.folder / f"down_{moment}"
    job = jobs.start(bed, run, *flags)
    jobs.until(job, condition(run))
    bed.hosts[1].link("down")
    code = bed.end(job, jobs.STALL_S + jobs.END_S)
    assert code not in (0, 2, 75)
    said = jobs.output(run)
    assert "has no answer from h1 (10.77.0.2)" in said or "has no answer from h0 (10.77.0.1)" in said
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
