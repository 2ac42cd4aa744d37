"""Shares of particles: each rank has some, each particle is in one group of ranks, for all numbers that divide."""

import pytest

from bnn_hvd.distributed.particles import share
from bnn_hvd.errors import UserError

DIVIDE = [(p, r) for p in range(1, 17) for r in range(1, 17) if p % r == 0 or r % p == 0]


@pytest.mark.parametrize(("total", "size"), DIVIDE)
@pytest.mark.parametrize("first", [0, 5])
def test_particles_and_ranks_are_covered_once(total, size, first):
    members = range(first, first + total)
    shares = [share(members, rank, size) for rank in range(size)]
    assert all(rank in one.ranks for rank, one in enumerate(shares))
    groups = {one.ranks: one.members for one in shares}  # all ranks of a group have equal members
    assert all(one.members == groups[one.ranks] for one in shares)
    assert sorted(rank for ranks in groups for rank in ranks) == list(range(size))
    assert sorted(member for mine in groups.values() for member in mine) == list(members)
    assert len({len(ranks) for ranks in groups}) == len({len(mine) for mine in groups.values()}) == 1


@pytest.mark.parametrize(("total", "size", "ways"), [(5, 2, "4 or 6 particles"), (3, 8, "2 or 4 particles")])
def test_numbers_that_do_not_divide_are_refused_with_the_nearest_that_do(total, size, ways):
    with pytest.raises(UserError, match=ways):
        share(range(total), 0, size)


def test_uneven_shares_differ_by_one():
    counts = [len(share(range(8), rank, 3, allow_uneven=True).members) for rank in range(3)]
    assert sum(counts) == 8
    assert max(counts) - min(counts) == 1


def test_a_particle_has_equally_many_ranks_even_so():
    with pytest.raises(UserError, match="2 or 4 particles"):
        share(range(3), 0, 8, allow_uneven=True)


def test_chains_share_all_ranks_unless_groups_are_asked_for():
    shares = [share(range(4), rank, 6, groups=2) for rank in range(6)]
    assert [one.members for one in shares] == [range(2)] * 3 + [range(2, 4)] * 3
    assert [one.ranks for one in shares] == [range(3)] * 3 + [range(3, 6)] * 3
    assert share(range(3), 1, 2, groups=1) == (range(3), range(2))


@pytest.mark.parametrize(("total", "size"), [(3, 4), (4, 3)])
def test_groups_must_divide_chains_and_ranks(total, size):
    with pytest.raises(UserError, match="--chain_groups=2 must divide"):
        share(range(total), 0, size, groups=2)
