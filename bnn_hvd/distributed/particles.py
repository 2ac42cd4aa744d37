"""Which rank trains which particles (members of an ensemble): arithmetic only."""

from typing import NamedTuple

from bnn_hvd.errors import UserError


class Share(NamedTuple):
    """One rank's part of the work."""

    members: range  # the particles of this rank's group, all trained at once
    ranks: range  # the group: ranks that train these particles data-parallel


def share(members: range, rank: int, size: int, allow_uneven: bool = False, groups: int = 0) -> Share:
    """Return what `rank` of `size` does for the particles `members`.

    With as many particles as ranks or more, each rank has some of its own; with fewer, each particle has a
    group of ranks. Blocks are contiguous, so that groups stay within hosts as far as possible.

    groups: make so many groups of ranks, each with its part of the particles (chains); 0: as above.

    Raises:
      UserError: neither number divides the other, naming the nearest that do. allow_uneven lets ranks have
        particles in numbers that differ by one; a particle's ranks are always equally many.
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
    """Return part `index` of `blocks` contiguous parts of range(total), as equal as can be."""
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
    """Return the divisor of `size` that is next to `start` in a direction."""
    while size % start:
        start += direction
    return start
