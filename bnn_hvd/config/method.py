"""Flags of `train`: the method of inference."""

import dataclasses
from typing import Any, TypeVar

from bnn_hvd import registry
from bnn_hvd.config.flags import flag

Kind = TypeVar("Kind")


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """The method, its particles, and the run that it begins with.

    options: those of the chosen method (config/options.py: MethodOptions).
    """

    name: str = flag(
        "", "method", "method of inference of the weights (default vi)", name="method", choices=registry.METHODS
    )
    num_particles: int = flag(
        0, "method", "number of networks to train (members of an ensemble, particles of svgd), shared among the "
        "ranks; may be raised on a finished run (default: 8 for ensemble, multiswag and svgd)",
        minimum=0, identity=False, by=("method",),
    )  # fmt: skip
    allow_uneven: bool = flag(
        False, "method", "allow numbers of particles per rank that differ by one", identity=False, by=("method",),
        needs="num_particles",
    )  # fmt: skip
    member_batches: str = flag(
        "shared", "method", "the members of an ensemble see the same batches (shared), or each takes the examples in "
        "an order of its own, with its own crops and flips (own)",
        choices=("shared", "own"), by=("method",), needs="num_particles",
    )  # fmt: skip
    init_from: str = flag(
        "", "method", "run directory of a point run: laplace is fitted to it, the others start from its weights",
        by=("method",),
    )  # fmt: skip
    options: Any = None

    def options_as(self, kind: type[Kind]) -> Kind:
        """Return the options as `kind`, the class in the method's file: `options_of` has made a copy of that class."""
        return kind(**{field.name: getattr(self.options, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]
