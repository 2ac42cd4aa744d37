"""A Normal per weight, q = N(loc, exp(log_scale)^2): its noise and its KL, with fused forward and backward passes.

Each pass is one compiled loop over the weights. With TensorFlow's operations, every multiplication would read and write
all weights, and its gradient rules would do so again. Legend: B weights, M members.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.noise import Gradient

# With a kl_weight of 0 there would be no noise, no estimate of the curvature, and no precision that is large enough.
LEAST_KL_WEIGHT = 1e-2


@tf.custom_gradient
def perturb(
    loc: tf.Tensor, log_scale: tf.Tensor, seed: tf.Tensor, prior_scale: tf.Tensor
) -> tuple[tuple[tf.Tensor, ...], Gradient]:
    """Return loc [B], scale * eps [B] with eps a standard normal draw, and KL(q || N(0, prior_scale^2)) [].

    loc [B] is returned unchanged: the likelihood is computed from the returned one, so that its gradients from the data
    and from the KL are added in one loop.
    """
    pairs, kl = _perturbation_and_kl(loc, log_scale, seed, prior_scale)
    perturbation = noise.as_floats(pairs, log_scale.shape[0])

    def gradient(to_loc: tf.Tensor, to_perturbation: tf.Tensor, to_kl: tf.Tensor) -> tuple[Any, ...]:
        return *_gradient(loc, log_scale, prior_scale, perturbation, to_loc, to_perturbation, to_kl), None, None

    return (tf.identity(loc), perturbation, kl), gradient


@tf.custom_gradient
def variance(loc: tf.Tensor, log_scale: tf.Tensor, prior_scale: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Gradient]:
    """Return loc [B], scale^2 [B] and KL(q || N(0, prior_scale^2)) []; loc as in `perturb`."""
    squares, kl = _variance_and_kl(loc, log_scale, prior_scale)

    def gradient(to_loc: tf.Tensor, to_variance: tf.Tensor, to_kl: tf.Tensor) -> tuple[Any, ...]:
        return *_gradient(loc, log_scale, prior_scale, squares, to_loc, 2.0 * to_variance, to_kl), None

    return (tf.identity(loc), squares, kl), gradient


def for_each_member(function: Callable[..., Any], prior_scale: tf.Tensor, *arguments: tf.Tensor) -> Any:
    """Return `function(*arguments, prior_scale)` for arguments [B]; for [M, B], the stacked results of all members."""
    if len(arguments[0].shape) == 1:
        return function(*arguments, prior_scale)
    each = [function(*one, prior_scale) for one in zip(*(tf.unstack(argument) for argument in arguments), strict=True)]
    return [tf.stack(results) for results in zip(*each, strict=True)]


def effective_size(num_labels: int, kl_weight: tf.Tensor) -> tf.Tensor:
    """Return the number of labels as which the data count against the prior: the factor from the loss per label to the
    objective in nats, tempered by kl_weight."""
    return num_labels / tf.maximum(kl_weight, LEAST_KL_WEIGHT)


def kl_to_prior(loc: tf.Tensor, log_scale: tf.Tensor, prior_scale: float) -> tf.Tensor:
    """Return KL(q || N(0, prior_scale^2)), summed over the weights, in nats: [B], [B] -> [].

    sum of log(prior_scale) - log_scale + (scale^2 + loc^2) / (2 prior_scale^2) - 1/2, which needs no logarithm of each
    weight's scale.
    """
    squares = tf.reduce_sum(tf.exp(2.0 * log_scale) + loc * loc)
    constant = float(loc.shape[0]) * (tf.math.log(prior_scale) - 0.5)
    return 0.5 * squares / prior_scale**2 - tf.reduce_sum(log_scale) + constant


def log_density(eps: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """Return log q(w) of w = loc + exp(log_scale) * eps, summed over the weights, in float64: [S, B], [B] -> [S]."""
    constant = 0.5 * float(eps.shape[-1]) * math.log(2 * math.pi)
    squares = tf.reduce_sum(tf.square(tf.cast(eps, tf.float64)), -1)
    return -0.5 * squares - tf.reduce_sum(tf.cast(log_scale, tf.float64), -1) - constant


@noise.compiled
def _perturbation_and_kl(
    loc: tf.Tensor, log_scale: tf.Tensor, seed: tf.Tensor, prior_scale: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    size = log_scale.shape[0]
    padded = tf.pad(log_scale, [[0, 1]]) if size % 2 else log_scale
    scale = tf.exp(tf.reshape(padded, [-1, 2]))
    eps = noise.normal_pairs(seed, (size + 1) // 2)
    pairs = tf.complex(scale[:, 0] * tf.math.real(eps), scale[:, 1] * tf.math.imag(eps))
    return pairs, kl_to_prior(loc, log_scale, prior_scale)


@noise.compiled
def _variance_and_kl(loc: tf.Tensor, log_scale: tf.Tensor, prior_scale: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.exp(2.0 * log_scale), kl_to_prior(loc, log_scale, prior_scale)


@noise.compiled
def _gradient(
    loc: tf.Tensor,
    log_scale: tf.Tensor,
    prior_scale: tf.Tensor,
    output: tf.Tensor,
    to_loc: tf.Tensor,
    to_output: tf.Tensor,
    to_kl: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients by loc and log_scale [B], where the derivative of `output` by log_scale is `output`."""
    precision = 1.0 / prior_scale**2
    return (
        to_loc + to_kl * precision * loc,
        to_output * output + to_kl * (precision * tf.exp(2.0 * log_scale) - 1.0),
    )


def mean_of_kernels(name: str, values: tf.Tensor, kernels: Mapping[str, slice]) -> dict[str, tf.Tensor]:
    """Return the mean over the weights of each kernel, as `name/kernel`: [..., B] -> [...]."""
    return {f"{name}/{kernel}": tf.reduce_mean(values[..., where], -1) for kernel, where in kernels.items()}
