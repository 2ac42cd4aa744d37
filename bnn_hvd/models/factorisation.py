"""Probabilistic matrix factorisation (Salakhutdinov & Mnih 2008): a user and an item each have factors and a bias."""

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
        0.0, "network", "standard deviation of the prior of matrix_factorisation's factors; 0: such that the product "
        "of a user's and an item's has --prior_scale", minimum=0,
    )  # fmt: skip


def matrix_factorisation(
    net: Layers, x: tf.Tensor, *, num_factors: int, factor_scale: float, prior_scale: float
) -> tf.Tensor:
    """Return the log odds U V^T + u + v of each user of x [N, 1] and each item, [N, I].

    U and u are of the user, whose number x is; V and v are the kernel and the bias of a dense layer. With factors
    from N(0, factor_scale^2), the product of two has the standard deviation sqrt(num_factors) factor_scale^2.
    """
    scale = factor_scale or math.sqrt(prior_scale / math.sqrt(num_factors))
    factors = net.of_example("users", "factors", num_factors, scale)
    bias = net.of_example("users", "bias", 1)
    return net.dense("items", factors, net.num_outputs, prior_scale=scale) + bias
