"""Jobs on several hosts: ranks, launchers and libraries may be placed and chosen freely, and train the same weights."""

import sys

import jobs
import pytest
import running

HOROVODRUN = [sys.executable, running.HOROVODRUN, "--network-interfaces", "eth0"]


@pytest.mark.parametrize("library", ["--mpi", "--gloo"])
def test_horovodrun_trains_on_two_hosts_as_mpirun_does(bed, reference, tmp_path, library):
    run = bed.folder / f"run{library}"
    jobs.finish(bed, run, launcher=[*HOROVODRUN, library])
    summary = running.read_json(run)
    assert (summary["hosts"], summary["nodes"], summary["weights_sha256"]) == (["h0", "h1"], 2, reference)


def test_four_ranks_are_the_same_on_four_hosts_and_on_two(bed):
    spread, paired = bed.folder / "spread", bed.folder / "paired"
    jobs.finish(bed, spread, hosts=bed.hosts)
    jobs.finish(bed, paired, ranks_per_host=2)
    assert running.read_json(spread)["hosts"] == ["h0", "h1", "h2", "h3"]
    assert running.read_json(paired)["hosts"] == ["h0", "h0", "h1", "h1"]
    assert jobs.weights(spread) == jobs.weights(paired)
