"""Flags of `train`: the network and the prior of its weights."""

import dataclasses
from typing import Any

from bnn_hvd import registry
from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which network, which of its layers are Bayesian, and the standard deviation of the prior.

    options: of the network that is chosen (config/options.py: NetworkOptions).
    """

    model: str = flag(
        "", "network", "short for a row of --architecture, --method, --estimator and --bayesian_layers",
        choices=registry.MODELS, identity=False,
    )  # fmt: skip
    architecture: str = flag("", "network", "the network (default conv)", choices=registry.NETWORKS)
    bayesian_layers: str = flag(
        "", "network", "layers whose kernels have a distribution under vi (default hidden: all but the output; of a "
        "linear network, all)",
        choices=("hidden", "all"),
    )  # fmt: skip
    bayesian_biases: bool = flag(False, "network", "biases of the Bayesian layers have a distribution too")
    prior_scale: float = flag(
        1.0, "network", "standard deviation of the prior of each weight (under --prior=scale_mixture of its wide part)",
        minimum=1e-12,
    )  # fmt: skip
    options: Any = None
