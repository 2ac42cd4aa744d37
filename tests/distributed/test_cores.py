"""Ranks share the cores that they may run on; where there are more threads than cores, one line says so."""

import pytest

from bnn_hvd.distributed import cores
from bnn_hvd.distributed.cores import Place


def places(*masks: range, host: str = "a") -> list[Place]:
    return [Place(host, frozenset(mask)) for mask in masks]


SHARED = places(*[range(8)] * 8)  # a cpuset of 8 cores for the 8 ranks of a host
BOUND = places(*(range(8 * rank, 8 * rank + 8) for rank in range(8)))
TWO_SOCKETS = places(*[range(16)] * 3, *[range(16, 32)] * 2)  # ranks are bound to a socket
CROWDED = places(*[range(2)] * 4)


@pytest.mark.parametrize(
    ("ranks", "threads"),
    [
        (SHARED, [1] * 8), (BOUND, [8] * 8), (TWO_SOCKETS, [5] * 3 + [8] * 2), (CROWDED, [1] * 4),
        (places(range(6), range(6), range(6)), [2] * 3),  # floating-point thirds would add up to less than 2
        (places(range(4), range(2, 6)), [3, 3]),  # each has two cores of its own, and half of two more
        (places(range(8)) + places(*[range(8)] * 4, host="b"), [8] + [2] * 4), (places(range(1)), [1]),
    ],
)  # fmt: skip
def test_ranks_share_the_cores_that_they_have_in_common(ranks, threads):
    assert [cores.threads(one, ranks) for one in ranks] == threads


@pytest.mark.parametrize("requested", [0, 1])
@pytest.mark.parametrize("ranks", [SHARED, BOUND, TWO_SOCKETS])
def test_threads_that_fit_need_no_warning(ranks, requested):
    assert cores.warning(ranks, requested) == ""


def test_too_many_threads_get_the_number_that_fits():
    (line,) = cores.warning(BOUND[:2] + places(range(16), range(16), host="b"), 16).splitlines()
    assert line == (
        "bnn_hvd: warning: 2 ranks x 16 threads on the 16 cores of host a (and 1 more such hosts): the threads will "
        "wait for each other; --threads=8 fits"
    )


@pytest.mark.parametrize(("requested", "said"), [(0, "1 thread"), (1, "1 thread"), (2, "2 threads")])
def test_more_ranks_than_cores_are_not_told_to_take_the_one_thread_that_they_have(requested, said):
    line = cores.warning(CROWDED, requested)
    assert f"4 ranks x {said} on the 2 cores of host a: " in line
    assert "--threads" not in line
    assert line.endswith("start at most 2 ranks on a host, or give the ranks more cores")


def test_the_place_of_this_process_has_cores():
    assert cores.threads(cores.here(), [cores.here()]) == len(cores.here().cores) > 0
