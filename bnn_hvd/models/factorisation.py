"""Probabilistic matrix factorisation (Salakhutdinov & Mnih 2008): factors and a bias for each user and each item."""

import dataclasses
import math

import tensorflow as tf

from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import FactorOptions, NetworkOptions
from bnn_hvd.models.network import Layers


@dataclasses.dataclass(frozen=True)
class MatrixFactorisationOptions(FactorOptions, NetworkOptions):
    """Flags of matrix_factorisation."""

    single_layer = True
    local_latents = True

    factor_scale: float = flag(
        0.0, "network", "standard deviation of the prior of matrix_factorisation's factors; 0: chosen so that the "
        "product of a user's factors and an item's factors has the standard deviation --prior_scale", minimum=0,
    )  # fmt: skip


def matrix_factorisation(
    net: Layers, x: tf.Tensor, *, num_factors: int, factor_scale: float, prior_scale: float
) -> tf.Tensor:
    """Return the log odds U V^T + u + v of each user and each item, [N, I], for users by number, x [N, 1].

    U and u are the user's local latents, V and v the kernel and the bias of a dense layer over the items. With factors
    from N(0, factor_scale^2), the product of two has the standard deviation sqrt(num_factors) factor_scale^2.
    """
    scale = factor_scale or math.sqrt(prior_scale / math.sqrt(num_factors))
    factors = net.local("users", "factors", num_factors, scale)
    bias = net.local("users", "bias", 1)
    return net.dense("items", factors, net.num_outputs, prior_scale=scale) + bias
