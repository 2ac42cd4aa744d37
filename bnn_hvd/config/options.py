"""What a method, a network and a data set say of themselves: facts (class attributes) and flags (fields).

A row of the registry names the options class of a method, network or data set, which is in the same file as its code;
what several share is here. TensorFlow takes seconds to import, and `--help` must not: `options_of` therefore reads the
subclass out of its file without importing the file.
"""

import ast
import dataclasses
import functools
import importlib
import importlib.util
from pathlib import Path
from types import CodeType
from typing import Any, ClassVar, cast

from bnn_hvd.config.flags import flag
from bnn_hvd.registry import Row

Values = dict[str, Any]  # of the flags, by name; None or "" where a flag was left open

# Common flags that belong together, for `takes`.
MINI_BATCHES = frozenset({"batch_size", "shuffle_seed", "augment"})
LEARNING_RATE = frozenset(
    {"learning_rate", "lr_scaling", "lr_warmup_epochs", "lr_schedule", "lr_step_epochs", "lr_step_factor"}
)
OPTIMIZER = frozenset({"optimizer", "momentum", "nudge_step"})
TEMPERING = frozenset({"kl_weight", "kl_warmup_epochs"})
PARTICLES = frozenset({"num_particles", "allow_uneven"})
BAYESIAN = frozenset({"bayesian_layers", "bayesian_biases"})
GRADIENT = frozenset({"compression", "gradient_blocks", "accumulate_steps"})
FILES = frozenset({"data_dir", "stage_dir"})
REAL_TARGETS = frozenset({"standardize_targets", "noise_scale"})

# What such a subclass may use: nothing here takes long to import.
LIGHT = ("dataclasses", "pathlib", "typing", "bnn_hvd.config", "bnn_hvd.errors", "bnn_hvd.registry")


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of one method, network or data set.

    takes: the common flags that it uses, of those that not all use (config/usage.py). defaults: its own defaults of
    common flags.
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    defaults: ClassVar[Values] = {}

    @classmethod
    def fill(cls, values: Values) -> None:
        """Fill in what was left open, from the rest of the flags.

        Raises:
          UserError: flags that contradict each other.
        """


@dataclasses.dataclass(frozen=True)
class MethodOptions(Options):
    """Facts and flags of a method of inference (inference/method.py)."""

    takes = (
        MINI_BATCHES | LEARNING_RATE | OPTIMIZER | TEMPERING | PARTICLES | GRADIENT
        | {"init_seed", "noise_seed", "member_batches", "until_converged"}
    )  # fmt: skip
    needs_particles: ClassVar[bool] = False  # of any other, --num_particles makes an ensemble
    interacting: ClassVar[bool] = False  # its particles see each other, so that none can be added later
    full_batch: ClassVar[bool] = False  # a step sees all examples, each rank its shard of them
    takes_batch_norm: ClassVar[bool] = False  # its draws share one set of running means and variances
    single_draw: ClassVar[bool] = False  # without particles, every draw is the same network
    has_scales: ClassVar[bool] = False  # its parameters are [log scale, loc, deterministic weights]
    fitted: ClassVar[bool] = False  # to the run of --init_from, by one pass over the data
    prunable: ClassVar[bool] = False  # a draw needs `params` and no slots, so that a weight of 0 stays 0

    def evaluations(self, num_particles: int) -> int:
        """Return the gradient evaluations per training example of an epoch."""
        return max(1, num_particles)

    @property
    def rank_groups(self) -> int:
        """Into how many groups the ranks are split, each with its part of the particles; 0: as many as there can be."""
        return 0

    @classmethod
    def variant(cls, values: Values) -> str:
        """Return what tells two runs of this method apart in the name of a run; "" if nothing does."""
        return ""


@dataclasses.dataclass(frozen=True)
class NetworkOptions(Options):
    """Facts and flags of a network (models/)."""

    single_layer: ClassVar[bool] = False  # it has no hidden layer
    local_latents: ClassVar[bool] = False  # each example has parameters of its own, on the rank that has the example


@dataclasses.dataclass(frozen=True)
class DataOptions(Options):
    """Facts and flags of a data set (data/)."""

    takes = FILES | {"standardize", "augment"}
    ratings: ClassVar[bool] = False  # its targets are implicit ratings of users and items
    fresh_noise: ClassVar[bool] = False  # training adds standard normal noise to each example, anew in every epoch
    by_likelihood: ClassVar[bool] = False  # --likelihood decides whether its targets are classes or real values


@dataclasses.dataclass(frozen=True)
class HeldOutOptions(Options):
    """Flags of data sets that come without a test part."""

    test_fraction: float = flag(
        0.2, "data", "part of a table's rows, or of a rating matrix's entries, that is the test part, in (0, 1); the "
        "same ones for every --seed", minimum=0, below=1,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OwnArraysOptions(DataOptions):
    """Flags of the user's own arrays."""

    takes = FILES | REAL_TARGETS | {"standardize", "augment"}
    by_likelihood = True

    validation_fraction: float = flag(
        0.2, "data", "part of the training examples that is held out to evaluate on, in (0, 1), where the data come "
        "without a test part; the same ones for every --seed", minimum=0, below=1,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class NormalizationOptions(NetworkOptions):
    """Flags of the networks with a normalisation after each convolution."""

    normalization: str = flag(
        "frn", "network", "of resnet18, resnet20 and vgg16: filter-response normalisation, or none; or batch, under "
        "point, ensemble, vi and ivon, whose running means and variances predictions use",
        choices=("frn", "batch", "none"),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OwnNetworkOptions(NetworkOptions):
    """Flags of a network of the user's own (models/own.py)."""

    architecture_args: str = flag("", "network", "keyword arguments of your own network, as in depth=3,width=64")
    sequences: bool = flag(
        False, "network", "examples [N, T, D] are sequences for your own network, and not grey images [N, H, W, 1]"
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FactorOptions(Options):
    """Flags of matrix factorisation, and of ratings that are drawn from one."""

    num_factors: int = flag(
        20, "network", "factors of each user and item in matrix_factorisation; synthetic_ratings are made of as many",
        minimum=1,
    )  # fmt: skip


@functools.cache
def options_of(row: Row) -> type[Options]:
    """Return the options class that a row names."""
    module, _, name = row.options.partition(":")
    if module.startswith(LIGHT):
        return cast("type[Options]", getattr(importlib.import_module(module), name))
    return cast("type[Options]", _light_namespace(module)[name])


@functools.cache
def _light_namespace(module: str) -> dict[str, Any]:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{module} is nowhere"
    assert spec.origin is not None, f"{module} is in no file"
    namespace: dict[str, Any] = {"__name__": module}
    exec(_light_part(Path(spec.origin)), namespace)
    return namespace


def _light_part(file: Path) -> CodeType:
    """Return the light imports, the literal constants and the options classes of a file, compiled."""
    tree = ast.parse(file.read_text(), str(file))
    tree.body = [node for node in tree.body if _is_light(node)]
    return compile(tree, str(file), "exec")


def _is_light(node: ast.stmt) -> bool:
    match node:
        case ast.Import(names=names):
            return all(name.name.startswith(LIGHT) for name in names)
        case ast.ImportFrom(module=str(module)):
            return module.startswith(LIGHT)
        case ast.Assign(value=value):
            return _is_literal(value)
        case ast.ClassDef(name=name):
            return name.endswith("Options")
    return False


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True
