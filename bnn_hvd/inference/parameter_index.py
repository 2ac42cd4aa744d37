"""Where the parameters of a network are in what a method keeps as its `params`."""

import numpy as np

from bnn_hvd.config.options import MethodOptions
from bnn_hvd.models.network import Network


def of_theta(method: MethodOptions, network: Network) -> np.ndarray:
    """Return, for each entry of theta [P], its index in `params`: of the mean, where there is a scale too.

    A method with scales keeps [loc (B), log scale (B), deterministic weights (P - B)], the others theta as it is.
    """
    index_P = np.arange(network.num_parameters)
    return np.where(index_P < network.num_bayesian, index_P, index_P + network.num_bayesian * method.has_scales)


def of_log_scale(network: Network) -> np.ndarray:
    """Return, for each Bayesian entry of theta [B], the index of its log scale in the `params` of such a method."""
    return network.num_bayesian + np.arange(network.num_bayesian)
