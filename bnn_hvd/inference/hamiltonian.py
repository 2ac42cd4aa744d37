"""Hamiltonian dynamics: the leapfrog integrator and the Metropolis acceptance.

Why TensorFlow Probability's kernels are not used: docs/log.md. Legend: M chains, Q coordinates.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from bnn_hvd.inference.log_posterior import Evaluation, LogPosterior

DIVERGENT = -1000.0  # log accept ratio below which the integrator has diverged (as in Stan)


class End(NamedTuple):
    """The proposal: position and momentum at the end of a trajectory."""

    q: tf.Tensor  # [M, Q]
    p: tf.Tensor  # [M, Q]
    log_likelihood_change: tf.Tensor  # [M] float64, since the start
    communication_s: tf.Tensor


class Acceptance(NamedTuple):
    """The outcome of the Metropolis acceptance, [M] each; equal on every rank."""

    accepted: tf.Tensor  # bool
    probability: tf.Tensor
    divergent: tf.Tensor  # bool


def leapfrog(target: LogPosterior, start: Evaluation, q: tf.Tensor, p: tf.Tensor, step: tf.Tensor, count: Any) -> End:
    """Integrate dq/dt = p, dp/dt = grad log p(q) for `count` leapfrog steps of size step [M], from q and p [M, Q].

    p += step/2 grad(q);  q += step p;  p += step/2 grad(q)

    start: the target at q.
    """
    step = step[:, None]

    def body(
        i: tf.Tensor, q: tf.Tensor, p: tf.Tensor, now: Evaluation, seconds: tf.Tensor
    ) -> tuple[tf.Tensor | Evaluation, ...]:
        half = p + 0.5 * step * now.gradient
        q = q + step * half
        new = target.evaluate(q)
        p = half + 0.5 * step * new.gradient
        return i + 1, q, p, new, seconds + new.communication_s

    _, q, p, new, seconds = tf.while_loop(
        lambda i, *_: i < count, body, (0, q, p, start, start.communication_s), parallel_iterations=1
    )  # fmt: skip
    return End(q, p, target.log_likelihood_change(start, new), seconds)


def log_accept_ratio(target: LogPosterior, q: tf.Tensor, p: tf.Tensor, end: End, float64: bool = False) -> tf.Tensor:
    """Return the log accept ratio [M]: the change of log posterior - p^2 / 2 from the start (q, p) [M, Q] to the end.

    The changes of likelihood, prior and kinetic energy are each computed as a difference, and then added in float64.

    float64: compute all of it in float64, from q and p on.
    """
    end_q, end_p = end.q, end.p
    likelihood = end.log_likelihood_change
    if float64:
        q, p, end_q, end_p = (tf.cast(part, tf.float64) for part in (q, p, end_q, end_p))
        likelihood = target.log_likelihood_change64(q, end_q)
    return tf.cast(likelihood + target.log_prior_change(q, end_q) - target.kinetic_change(p, end_p), tf.float32)


def metropolis(log_ratio: tf.Tensor, seeds_M2: tf.Tensor) -> Acceptance:
    """Accept with probability min(1, exp(log_ratio)), [M]. A ratio that is not finite is rejected, as a divergence."""
    finite = tf.math.is_finite(log_ratio)
    probability = tf.where(finite, tf.exp(tf.minimum(tf.where(finite, log_ratio, 0.0), 0.0)), 0.0)
    uniform = tf.stack([tf.random.stateless_uniform([], one) for one in tf.unstack(seeds_M2)])
    return Acceptance(uniform < probability, probability, tf.logical_not(finite & (log_ratio > DIVERGENT)))
