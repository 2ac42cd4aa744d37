"""Hosts made of network namespaces, and jobs on them.

Run them with `python -m pytest -m hosts tests/hosts`; without `-m hosts`, they are deselected.
"""

from collections.abc import Iterator
from pathlib import Path

import jobs
import pytest
import running
import testbed


def pytest_collection_modifyitems(config, items):
    """Deselect these tests unless `-m` names their marker."""
    running.only_when_asked_for("hosts", Path(__file__).parent, config, items)


@pytest.fixture(scope="session")
def four_hosts() -> Iterator[testbed.Testbed]:
    """Four hosts on two networks; cables into the second are plugged in by the tests that use it."""
    if reason := testbed.why_not():
        pytest.skip(reason)
    with testbed.connected(4, networks=2) as bed:
        for host in bed.hosts:
            host.link("down", network=1)
        yield bed


@pytest.fixture
def bed(four_hosts) -> Iterator[testbed.Testbed]:
    """The four hosts, whole again after each test."""
    yield four_hosts
    four_hosts.mend()


@pytest.fixture(scope="session")
def reference(four_hosts) -> str:
    """The weights_sha256 of the run that is never interrupted, on two hosts."""
    run = four_hosts.folder / "reference"
    jobs.finish(four_hosts, run)
    return jobs.weights(run)
