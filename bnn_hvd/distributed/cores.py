"""The cores that the ranks may run on, and how many threads fit. Arithmetic only.

A launcher binds each rank to cores of its own (`srun --cpu-bind=cores`, `aprun -cc depth`), or a batch system gives all
ranks of a job on a host the same cores (a cpuset), or nobody has bound anything. In each case the ranks share a core
with those that may run on it, too.
"""

import collections
import os
import socket
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple


class Place(NamedTuple):
    """Where a rank may run."""

    host: str
    cores: frozenset[int]


def here() -> Place:
    """Return the place of this process."""
    return Place(socket.gethostname(), frozenset(os.sched_getaffinity(0)))


def share(place: Place, places: Sequence[Place]) -> Fraction:
    """Return how many cores a rank has, where those that share a core have equal parts of it.

    places: of all ranks.
    """
    ranks = collections.Counter(core for one in places if one.host == place.host for core in one.cores)
    return sum((Fraction(1, ranks[core]) for core in place.cores), Fraction())


def threads(place: Place, places: Sequence[Place]) -> int:
    """Return the number of threads of a rank that fits to its share of the cores, at least 1."""
    return max(1, int(share(place, places)))


def warning(places: Sequence[Place], requested: int = 0) -> str:
    """Return the line that names a host with more threads than cores and the way out, "" if there is none.

    requested: threads of each rank; 0: those that `threads` returns.
    """
    hosts = collections.defaultdict(list)
    for place in places:
        hosts[place.host].append(place)
    crowded = [(host, ranks) for host, ranks in hosts.items() if _is_crowded(ranks, requested)]
    if not crowded:
        return ""
    host, ranks = crowded[0]
    cores, fits = len(frozenset().union(*(rank.cores for rank in ranks))), min(threads(rank, ranks) for rank in ranks)
    each = f"{requested or fits} thread{'s' * ((requested or fits) > 1)}"
    others = f" (and {len(crowded) - 1} more such hosts)" * (len(crowded) > 1)
    way_out = f"--threads={fits} fits"
    if _is_crowded(ranks, fits):
        way_out = f"start at most {cores} ranks on a host, or give the ranks more cores"
    return (
        f"bnn_hvd: warning: {len(ranks)} ranks x {each} on the {cores} cores of host {host}{others}: the threads will "
        f"wait for each other; {way_out}"
    )


def _is_crowded(places: Sequence[Place], requested: int) -> bool:
    """Return whether some core of a host has more than one thread, where each rank spreads its own evenly."""
    load: dict[int, Fraction] = collections.defaultdict(Fraction)
    for place in places:
        each = Fraction(requested or threads(place, places), len(place.cores))
        for core in place.cores:
            load[core] += each
    return any(of_core > 1 for of_core in load.values())
