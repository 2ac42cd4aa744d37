"""Hosts without a shared file system: data on each, the run directory on the first host's disk alone."""

import shutil

import jobs
import pytest
import running


@pytest.fixture
def interrupted(bed):
    """A run on the disk of h0, all of whose processes were killed; returns the function that starts it again."""
    run, here = bed.local / "run", bed.disk(bed.hosts[0]) / "run"

    def start(*flags, **options):
        return bed.start(*flags, f"--run={run}", log=bed.folder / "local.log", **{"hosts": bed.hosts[:2]} | options)

    for host in bed.hosts[:2]:
        running.write_npz(bed.disk(host) / "data.npz")
    data = ("--dataset=npz", f"--data_dir={bed.local / 'data.npz'}", f"--stage_dir={bed.local / 'stage'}")
    job = start(*jobs.TRAIN, *data)
    jobs.until(job, jobs.past(here, 20))
    for host in bed.hosts[:2]:
        host.kill()
    job.wait(timeout=jobs.END_S)
    yield lambda **options: start(*jobs.TRAIN, *data, **options), start
    for host in bed.hosts[:2]:
        for folder in ("run", "stage"):
            shutil.rmtree(bed.disk(host) / folder, ignore_errors=True)


def said(bed):
    return (bed.folder / "local.log").read_text()


def test_it_goes_on_where_the_run_is_and_nowhere_else(bed, interrupted):
    again, start = interrupted
    assert bed.end(again(hosts=bed.hosts[1::-1]), jobs.END_S) == 2
    assert "Start the job with h0 as its first host" in said(bed)
    assert not (bed.disk(bed.hosts[1]) / "run").exists()

    assert bed.end(start(*running.CLI, "train"), jobs.END_S) == 2
    assert f"{bed.local}/run is a run directory on h0, and not on h1" in said(bed)

    assert bed.end(again(), running.TIMEOUT_S) == 0, said(bed)
    assert not (bed.disk(bed.hosts[1]) / "run").exists()
    copied = bed.disk(bed.hosts[1]) / "run"
    shutil.copytree(bed.disk(bed.hosts[0]) / "run", copied)  # as the message says
    assert bed.end(again(hosts=bed.hosts[1::-1]), running.TIMEOUT_S) == 0, said(bed)
    assert "finished" in said(bed)
    assert jobs.weights(copied) == jobs.weights(bed.disk(bed.hosts[0]) / "run")

    whole = bed.folder / "whole"
    data = running.write_npz(bed.folder / "data.npz")
    jobs.finish(bed, whole, "--dataset=npz", f"--data_dir={data}")
    assert jobs.weights(whole) == jobs.weights(copied)


def test_data_that_one_host_lacks(bed):
    run = bed.folder / "lacks"
    running.write_npz(bed.disk(bed.hosts[0]) / "only_here.npz")
    job = jobs.start(bed, run, "--dataset=npz", f"--data_dir={bed.local / 'only_here.npz'}")
    assert bed.end(job, jobs.END_S) == 2
    (error,) = [line for line in running.errors(jobs.output(run)) if "error on rank" not in line]
    assert "(rank 1 on h1)" in error
    assert "Traceback" not in jobs.output(run)
    assert not run.exists()
