"""Flags of `train`: the method of inference."""

import dataclasses
from typing import Any, TypeVar

from bnn_hvd import registry
from bnn_hvd.config.flags import flag

Kind = TypeVar("Kind")


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """Which method, and of how many particles.

    options: of the method that is chosen (config/options.py: MethodOptions).
    """

    name: str = flag("", "method", "how the weights are inferred (default vi)", name="method", choices=registry.METHODS)
    num_particles: int = flag(
        0, "method", "train so many networks (members of an ensemble, particles of svgd), laid out over the ranks; "
        "may be raised on a finished run (default: 8 for ensemble, multiswag and svgd)", minimum=0, identity=False,
    )  # fmt: skip
    allow_uneven: bool = flag(False, "method", "let ranks have numbers of particles that differ by one", identity=False)
    init_from: str = flag(
        "", "method", "run directory of a point network: laplace is made for it, vi starts with its weights as means"
    )
    options: Any = None

    def options_as(self, kind: type[Kind]) -> Kind:
        """Return the options as the class that a method's file has of them: `options_of` reads a copy of it."""
        return kind(**{field.name: getattr(self.options, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]
