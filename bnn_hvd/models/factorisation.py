"""Probabilistic matrix factorisation (Salakhutdinov & Mnih 2008): a user and an item each have factors and a bias."""

import math

import tensorflow as tf

from bnn_hvd.models.network import Layers


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
