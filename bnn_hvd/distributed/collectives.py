"""What the ranks communicate inside a graph, and the check that they would all communicate the same.

Horovod joins collectives by their names, and waits until every rank has sent its part: for ever, if one never does.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from bnn_hvd.errors import TrainingError, UserError

MOST_NUMBERS = 2**31 - 1  # MPI counts in int32


class Collective(NamedTuple):
    """One collective operation of a graph, as a rank has traced it.

    ranks: that take part.
    tensors: type and shape of each; "*" is an axis along which the ranks concatenate.
    """

    kind: str
    name: str
    ranks: range
    tensors: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind} of {', '.join(self.tensors)})"


def reduced(tensors: Sequence[Any]) -> tuple[str, ...]:
    """Return the types and shapes of tensors that every rank has alike."""
    return tuple(f"{tensor.dtype.name} {list(tensor.shape)}" for tensor in tensors)


def concatenated(tensors: Sequence[Any]) -> tuple[str, ...]:
    """Return the types and shapes of tensors of which each rank may have another number of rows."""
    return tuple(f"{tensor.dtype.name} {['*', *tensor.shape[1:]]}".replace("'", "") for tensor in tensors)


def is_constant(tensor: Any) -> bool:
    """Return whether a tensor of a graph is known to be constant."""
    import tensorflow as tf

    return tf.is_symbolic_tensor(tensor) and tf.get_static_value(tensor) is not None


def check_size(name: str, tensors: Sequence[Any], copies: int = 1) -> None:
    """Raise UserError for tensors that are more numbers, in all their `copies`, than MPI can count."""
    numbers = copies * sum(tensor.shape.num_elements() or 0 for tensor in tensors)
    if numbers > MOST_NUMBERS:
        raise UserError(
            f"{name} has {numbers} numbers to communicate at once, more than MPI counts ({MOST_NUMBERS}): take fewer "
            "particles on a rank, or a smaller network"
        )


def check_equal(everyone: Sequence[Sequence[Collective]]) -> None:
    """Check that the ranks of each group would communicate the same, in the same order.

    everyone: the collectives of each rank.

    Raises:
      TrainingError: they would not; it names the first difference and the rank.
    """
    for ranks in dict.fromkeys(one.ranks for mine in everyone for one in mine):
        for rank, first in zip(ranks[1:], itertools.repeat(ranks[0])):
            here, there = ([one for one in everyone[r] if one.ranks == ranks] for r in (rank, first))
            for a, b in itertools.zip_longest(here, there):
                if a != b:
                    raise TrainingError(
                        f"rank {rank} would communicate {a or 'nothing more'} where rank {first} would communicate "
                        f"{b or 'nothing more'}, and both would wait for ever: start all ranks from the same "
                        "environment on hosts of one kind, with numbers of particles and examples that divide evenly"
                    )
