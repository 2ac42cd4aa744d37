"""Flags of `train`: the network and its prior."""

import dataclasses

from bnn_hvd import registry
from bnn_hvd.config.flags import flag
from bnn_hvd.config.run import RunFlags

ESTIMATORS = ("flipout", "reparam", "local_reparam")


@dataclasses.dataclass(frozen=True)
class ModelFlags(RunFlags):
    """The network and the prior of its weights."""

    model: str = flag(
        "", "network", "short for a row of --network, --method, --estimator and --bayesian_layers",
        choices=tuple(registry.MODELS), identity=False,
    )  # fmt: skip
    network: str = flag("", "network", "the network (default conv)", choices=tuple(registry.NETWORKS))
    method: str = flag("", "network", "how its weights are inferred (default vi)", choices=tuple(registry.METHODS))
    estimator: str = flag("", "network", "gradient estimator of vi (default flipout)", choices=ESTIMATORS)
    hidden: int = flag(64, "network", "units of each hidden layer of mlp", minimum=1)
    num_blocks: int = flag(2, "network", "blocks of two dense layers in mlp", minimum=0)
    num_factors: int = flag(
        20, "network", "numbers that matrix_factorisation has of each user and item; synthetic_ratings are made of as "
        "many", minimum=1,
    )  # fmt: skip
    normalization: str = flag(
        "frn", "network", "of resnet18, resnet20 and vgg16: filter-response normalisation, or none; or batch, under "
        "point, ensemble and vi, whose running means and variances predictions use", choices=("frn", "batch", "none"),
    )  # fmt: skip
    bayesian_layers: str = flag(
        "", "network", "layers whose kernels have a distribution under vi (default hidden: all but the output; of a "
        "linear network, all)",
        choices=("hidden", "all"),
    )  # fmt: skip
    bayesian_biases: bool = flag(False, "network", "biases of the Bayesian layers have a distribution too")
    prior: str = flag(
        "normal", "prior", "of each weight: N(0, prior_scale^2), or under vi a mixture of that with a narrow Normal",
        choices=("normal", "scale_mixture"),
    )  # fmt: skip
    prior_scale: float = flag(
        1.0, "prior", "standard deviation of the prior (of the mixture: of its wide part)", minimum=1e-12
    )
    factor_scale: float = flag(
        0.0, "prior", "standard deviation of the prior of matrix_factorisation's factors; 0: such that the product of "
        "a user's and an item's has --prior_scale", minimum=0,
    )  # fmt: skip
    prior_narrow_scale: float = flag(0.0025, "prior", "standard deviation of the mixture's narrow part", minimum=1e-12)
    prior_wide_weight: float = flag(0.5, "prior", "weight of the mixture's wide part, in (0, 1)", minimum=1e-12)
    prior_mean: str = flag(
        "zero", "prior", "where vi's prior is centred: at 0, or at the weights of --init_from (MOPED)",
        choices=("zero", "init_from"),
    )  # fmt: skip
    init_scale: float = flag(
        0.01, "prior", "standard deviation that each weight's posterior starts with", minimum=1e-12
    )
    init_relative_scale: float = flag(
        0.0, "prior", "or, with --init_from, so many times the size of the weight there, as 0.1; 0: --init_scale",
        minimum=0,
    )  # fmt: skip
