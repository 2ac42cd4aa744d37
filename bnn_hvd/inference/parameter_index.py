"""The positions of a network's parameters in the `params` of a method's state."""

import numpy as np

from bnn_hvd.config.options import MethodOptions
from bnn_hvd.models.network import Network


def of_theta(method: MethodOptions, network: Network) -> np.ndarray:
    """Return the index in `params` of each entry of theta [P]; for Bayesian weights, that of loc.

    The `params` of a method with scales are [log scale (B), theta (P)], of others theta.
    """
    index_P = np.arange(network.num_parameters)
    return index_P + network.num_bayesian * method.has_scales


def of_log_scale(network: Network) -> np.ndarray:
    """Return the index in `params` of the log scale of each Bayesian weight [B], for a method with scales."""
    return np.arange(network.num_bayesian)
