"""Hosts that differ: in data, code, clock, disk or speed, or with a second network that is dead."""

import contextlib
import datetime
import threading
import time
from pathlib import Path

import jobs
import numpy as np
import psutil
import pytest
import running

import bnn_hvd

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def refused(bed, run, *flags, **options) -> str:
    """Run the job, which must end with code 2 on all hosts, and return its error lines."""
    code = bed.end(jobs.start(bed, run, *flags, **options), jobs.END_S)
    assert code == 2, jobs.output(run)
    assert "Traceback" not in jobs.output(run)
    return "\n".join(running.errors(jobs.output(run)))


def test_data_that_differ_by_one_byte(bed):
    for host in bed.hosts[:2]:
        running.write_npz(bed.disk(host) / "data.npz")
    with np.load(bed.disk(bed.hosts[1]) / "data.npz") as arrays:
        changed = arrays["x_test"].copy()
    changed.view(np.uint8)[7, 5] ^= 1
    running.write_npz(bed.disk(bed.hosts[1]) / "data.npz", x_test=changed)
    run = bed.folder / "data"
    error = refused(bed, run, "--dataset=npz", f"--data_dir={bed.local / 'data.npz'}")
    assert "rank 1 on h1 has a test part with the fingerprint" in error
    assert "give all ranks the same --data_dir" in error
    assert not run.exists()


def test_code_that_differs(bed):
    file = Path(bnn_hvd.__file__)
    changed = bed.disk(bed.hosts[1]) / file.name
    changed.write_text(file.read_text() + "# changed\n")
    bed.hosts[1].call("mount", "--bind", changed, file)
    try:
        error = refused(bed, bed.folder / "code")
    finally:
        bed.hosts[1].call("umount", file)
    assert "rank 1 on h1 has code" in error
    assert "start all ranks from the same environment" in error


def test_a_clock_that_is_a_day_ahead(bed, reference):
    if not FAKETIME.exists():
        pytest.skip("no other clocks: apt-get install -y --no-install-recommends faketime")
    ahead, run = bed.hosts[1], bed.folder / "clock"
    ahead.serve(LD_PRELOAD=str(FAKETIME), FAKETIME="+1d", FAKETIME_DONT_FAKE_MONOTONIC="1")
    try:
        ahead.serving()
        jobs.finish(bed, run, hosts=[ahead, bed.hosts[0]], FAKETIME="+1d", FAKETIME_DONT_FAKE_MONOTONIC="1")
    finally:
        ahead.serve()
        ahead.serving()
    assert jobs.weights(run) == reference
    finished = datetime.datetime.fromisoformat(running.read_json(run)["finished"])
    assert finished.timestamp() > time.time() + 80_000  # by the clock of rank 0


@contextlib.contextmanager
def full_disk(bed, host):
    """Let a host's `local` be on a disk of 100 kB."""
    host.call("mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", bed.local)
    try:
        yield bed.local / "there"
    finally:
        host.kill()  # it may use the disk
        host.call("umount", bed.local)


def test_a_disk_that_fills_up_in_training(bed):
    run = bed.folder / "full_run"
    with full_disk(bed, bed.hosts[0]) as there:
        code = bed.end(jobs.start(bed, run, f"--run={there}", stall_s=600), jobs.END_S)
    assert code == 1
    said = "\n".join(running.errors(jobs.output(run)))
    assert "No space left on device" in said
    assert "make room and start again; the last checkpoint is kept" in said


def test_a_disk_without_room_for_a_copy_of_the_data(bed):
    data = running.write_npz(bed.folder / "data.npz", num_train=2000, num_features=100)
    with full_disk(bed, bed.hosts[1]) as there:
        flags = ("--dataset=npz", f"--data_dir={data}", f"--stage_dir={there}")
        error = refused(bed, bed.folder / "full_stage", *flags)
    assert f"{data} can't be staged to {there}: [Errno 28] No space left on device" in error
    assert "(rank 1 on h1)" in error


def test_a_slow_host_is_named(bed):
    """A CPU quota of an eighth: the rank runs 10 ms, then stands still for 70."""
    run, done = bed.folder / "slow", threading.Event()
    job = jobs.start(bed, run, "--model=CNN_conv", "--straggler_factor=1.15", stall_s=600)
    jobs.until(job, jobs.past(run, 10))
    slow = jobs.rank_on(bed.hosts[1])

    def throttle():
        try:
            while not done.is_set():
                slow.suspend()
                time.sleep(0.07)
                slow.resume()
                time.sleep(0.01)
        except psutil.NoSuchProcess:
            pass  # the job has ended

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        assert bed.end(job, running.TIMEOUT_S) == 0, jobs.output(run)
    finally:
        done.set()
        thread.join()
    assert "warning: ranks that make the others wait: rank 1 on h1: " in jobs.output(run)


def test_lost_packets_are_sent_again(bed, reference):
    """A queue of a few packets on a slow link drops what does not fit."""
    run = bed.folder / "packets"
    bed.hosts[1].limit("tbf", "rate", "20mbit", "burst", "4kb", "limit", "4kb")
    try:
        jobs.finish(bed, run)
        dropped = bed.hosts[1].dropped()
    finally:
        bed.hosts[1].limit()
    assert dropped > 20
    assert jobs.weights(run) == reference


def test_a_second_network_that_is_dead(bed, reference):
    """The interfaces are up, and nothing goes through: docs/reliability.md says what to set."""
    run, first = bed.folder / "networks", "10.77.0.0/24"
    for host in bed.hosts[:2]:
        host.link("up", network=1)
    bed.cut(network=1)
    try:
        jobs.finish(bed, run, OMPI_MCA_btl_tcp_if_include=first, OMPI_MCA_oob_tcp_if_include=first)
    finally:
        for host in bed.hosts[:2]:
            host.link("down", network=1)
    assert jobs.weights(run) == reference
