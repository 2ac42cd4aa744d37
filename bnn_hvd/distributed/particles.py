"""Which rank trains which particles. Arithmetic only."""

from typing import NamedTuple

from bnn_hvd.errors import UserError


class Share(NamedTuple):
    """The particles of one rank, and its group of ranks."""

    members: range  # the particles of the group, which are trained at once
    ranks: range  # the group: the ranks that train these particles data-parallel


def share(members: range, rank: int, size: int, allow_uneven: bool = False, groups: int = 0) -> Share:
    """Return the share of `rank` (of `size`) in the particles `members`.

    With at least as many particles as ranks, each rank has particles of its own. With fewer, each particle has a group
    of ranks. Groups are contiguous, so that most of them lie within one host.

    allow_uneven: the ranks may have numbers of particles that differ by one. All particles have equally many ranks.
    groups: the number of groups of ranks, each with its part of the particles (chains); 0: as above.

    Raises:
      UserError: neither number divides the other; it names the nearest numbers that do.
    """
    total = len(members)
    assert total >= 1, "no particles to train"
    if groups:
        if total % groups or size % groups:
            raise UserError(f"--chain_groups={groups} must divide the {total} chains and the {size} ranks")
        return _parts(members, rank, size, groups)
    uneven = total % size if total >= size else size % total
    if uneven and not (allow_uneven and total > size):
        raise UserError(_way_out(total, size))
    return _parts(members, rank, size, min(total, size))


def _parts(members: range, rank: int, size: int, groups: int) -> Share:
    group = rank * groups // size
    return Share(members[_block(group, groups, len(members))], range(size)[_block(group, groups, size)])


def _block(index: int, blocks: int, total: int) -> slice:
    """Return part `index` of range(total) in `blocks` contiguous parts, whose lengths differ by at most one."""
    return slice(index * total // blocks, (index + 1) * total // blocks)


def _way_out(total: int, size: int) -> str:
    below, above = total // size * size, (total // size + 1) * size
    fit = [str(p) for p in (below, above) if p]
    if total < size:
        fit = [str(p) for p in (_divisor(size, total, -1), _divisor(size, total, 1))]
    ways = f"take {' or '.join(dict.fromkeys(fit))} particles, or a number of ranks that divides {total}"
    ways += ", or --allow_uneven" if total > size else f" or that {total} divides"
    return f"{total} particles to train on {size} ranks: neither number divides the other; {ways}"


def _divisor(size: int, start: int, direction: int) -> int:
    """Return the divisor of `size` that is nearest to `start` in a direction, 1 or -1."""
    while size % start:
        start += direction
    return start
