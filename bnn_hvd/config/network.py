"""Flags of `train`: the network and the prior of its weights."""

import dataclasses
from typing import Any

from bnn_hvd import registry
from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network, its Bayesian layers, and the standard deviation of the prior.

    options: those of the chosen network (config/options.py: NetworkOptions).
    """

    model: str = flag(
        "", "network", "a named model: stands for --architecture, --method, --estimator and --bayesian_layers",
        choices=registry.MODELS, identity=False,
    )  # fmt: skip
    architecture: str = flag("", "network", "the network (default conv)", choices=registry.NETWORKS)
    bayesian_layers: str = flag(
        "", "network", "layers whose kernels have a distribution under vi: hidden (all but the output, the default), "
        "output, or all (the default for --architecture=linear)",
        choices=("hidden", "output", "all"), by=("method",),
    )  # fmt: skip
    bayesian_biases: bool = flag(
        False, "network", "biases of the Bayesian layers have a distribution too", by=("method",)
    )
    prior_scale: float = flag(
        1.0, "network", "standard deviation of the prior of each weight (with --prior=scale_mixture: of its wide "
        "component)",
        minimum=1e-12,
    )  # fmt: skip
    options: Any = None
