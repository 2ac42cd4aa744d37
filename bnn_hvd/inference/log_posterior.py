"""The log posterior of data that are spread over ranks, with its gradient.

    log p(q | data) = log prior(q) + sum over ranks of log p(its data | q) + constant

Each rank evaluates its shard of the data. One grouped all-reduce then makes value and gradient equal on all ranks.
Legend: M chains; q [M, Q] = [theta (P), equal on all ranks; local latents (n L) of this rank's n examples].
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from bnn_hvd import noise, seeds
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import clock
from bnn_hvd.inference.chunks import Chunks

Sum = Callable[[tf.Tensor, Batch], tf.Tensor]  # q [M, Q] and some examples -> [M], a sum over the examples
LogLikelihood = Sum  # in nats, float64
LOCAL = 2  # purpose of a seed: local momenta


class Local(NamedTuple):
    """The layout of q: num_shared shared numbers, then those in the slice `mine` of the `total` local ones."""

    num_shared: int
    mine: slice
    total: int


class Evaluation(NamedTuple):
    """The log posterior at q: its terms and its gradient."""

    log_likelihood: tf.Tensor  # [M], of all data
    gradient: tf.Tensor  # [M, Q], of the log posterior
    here: tf.Tensor  # [M] float64: log likelihood of this rank's data
    score: tf.Tensor  # [M], of all data
    communication_s: tf.Tensor


class LogPosterior:
    """The target of Hamiltonian dynamics. `examples` is this rank's shard of the data.

    prior_scale: of N(0, prior_scale^2), one number or [Q], one per coordinate.
    local: the layout of q with local latents; None: all of q is shared.
    score: a statistic, float32, that `evaluate` also sums on request.
    chunk_examples, threads: `size` and `threads` of `Chunks`.
    """

    def __init__(
        self,
        log_likelihood: LogLikelihood,
        examples: Batch,
        cluster: Cluster,
        prior_scale: Any,
        local: Local | None = None,
        chunk_examples: int = 0,
        score: Sum | None = None,
        threads: int = 1,
    ):
        self.log_likelihood, self.examples, self.cluster, self.score = log_likelihood, examples, cluster, score
        self.prior_scale, self.local = prior_scale, local
        self.chunks = Chunks(examples, chunk_examples, threads)

    def __call__(self, q: tf.Tensor) -> tf.Tensor:
        """Return the log posterior [M], without the prior's constant, with the right gradient under a tf.GradientTape.

        Horovod's own gradient of an all-reduce is another all-reduce, of the incoming gradient: a rank would get the
        gradient of its own shard alone, times the number of ranks.
        """

        @tf.custom_gradient
        def value(q: tf.Tensor) -> tuple[tf.Tensor, noise.Gradient]:
            found = self.evaluate(q)
            log_prior = -self._sum_over_coordinates(self._half_squares(q), "log_prior")
            total = found.log_likelihood + tf.cast(log_prior, tf.float32)
            return total, lambda upstream: upstream[:, None] * found.gradient

        return value(q)

    def evaluate(self, q: tf.Tensor, score: bool = False) -> Evaluation:
        """Return value and gradient at q, from one grouped all-reduce."""
        here, gradient, *scores = self._sums_here(q, score)
        name = "log_posterior_and_score" if scores else "log_posterior"
        (shared, value, *scores), seconds = clock.timed(
            self.cluster, [gradient[:, : self._shared(q)], tf.cast(here, tf.float32), *scores],
            lambda values: self.cluster.sum(values, name),
        )  # fmt: skip
        gradient = tf.concat([shared, gradient[:, self._shared(q) :]], -1) - q / self._scale(q) ** 2
        return Evaluation(value, gradient, here, scores[0] if scores else tf.zeros(q.shape[:1]), seconds)

    def _sums_here(self, q: tf.Tensor, score: bool) -> list[tf.Tensor]:
        """Return log likelihood [M], its gradient [M, Q] and, on request, the score [M] of this rank's data."""
        scores = [self.score] if score and self.score else []

        def of_chunk(batch: Batch) -> list[tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(q)
                value = self.log_likelihood(q, batch)
            assert value.dtype == tf.float64, "log likelihoods are added up in float64"
            return [value, tape.gradient(value, q), *(of_batch(q, batch) for of_batch in scores)]

        chains = q.shape[:1]
        zeros = [tf.zeros(chains, tf.float64), tf.zeros_like(q), *(tf.zeros(chains) for _ in scores)]
        return self.chunks.sum(of_chunk, zeros)

    def log_prior(self, q: tf.Tensor) -> tf.Tensor:
        """Return the log prior [M], float64, of the shared coordinates and of the local ones of all ranks."""
        log_scales = tf.broadcast_to(tf.math.log(self._scale(q)), q.shape)
        norms = tf.cast(log_scales + 0.5 * math.log(2 * math.pi), tf.float64)
        return -self._sum_over_coordinates(tf.cast(self._half_squares(q), tf.float64) + norms, "log_prior")

    def log_prior_change(self, before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        """Return the change of the log prior [M], float64, between positions [M, Q]: not a difference of large sums."""
        changes = (after - before) * (after + before) / (2.0 * self._scale(after) ** 2)
        return -self._sum_over_coordinates(changes, "log_prior_change")

    def kinetic_change(self, before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        """Return the change of the kinetic energy p^2 / 2 [M], float64, of shared and local momenta [M, Q]."""
        return self._sum_over_coordinates((after - before) * (after + before) / 2.0, "kinetic_change")

    def log_likelihood_change(self, before: Evaluation, after: Evaluation) -> tf.Tensor:
        """Return the change of the log likelihood [M], float64, between two evaluations.

        The ranks add up their changes in float64: a change may be large on each rank, and small in the sum.
        """
        return self.cluster.sum([after.here - before.here], "log_likelihood_change")[0]

    def log_likelihood_change64(self, before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        """Return the change of the log likelihood [M] between positions [M, Q], all in float64: two forward passes."""

        def of_chunk(batch: Batch) -> list[tf.Tensor]:
            exact = Batch(
                *(tf.cast(part, tf.float64) if part.dtype.is_floating else part for part in (batch.x, batch.y))
            )
            return [self.log_likelihood(after, exact) - self.log_likelihood(before, exact)]

        before, after = tf.cast(before, tf.float64), tf.cast(after, tf.float64)
        here = self.chunks.sum(of_chunk, [tf.zeros([after.shape[0]], tf.float64)])
        return self.cluster.sum(here, "log_likelihood_change64")[0]

    def momentum(self, seeds_M2: tf.Tensor, size: int) -> tf.Tensor:
        """Return momenta, standard normals [M, size]: the shared ones are equal on all ranks.

        Every rank draws the local ones of all ranks, at a nanosecond each, and takes its slice: so the momentum of a
        local latent does not depend on the number of ranks.
        """
        if self.local is None:
            return noise.normals(seeds_M2, size)
        every_local = noise.normals(seeds.derive(seeds_M2, purpose=LOCAL), self.local.total)
        return tf.concat([noise.normals(seeds_M2, self.local.num_shared), every_local[:, self.local.mine]], -1)

    def _sum_over_coordinates(self, values: tf.Tensor, name: str) -> tf.Tensor:
        """Return the sum over all coordinates [M], float64: the shared ones once, the local ones of all ranks.

        name: of the collective.
        """
        values = tf.cast(values, tf.float64)
        shared = tf.reduce_sum(values[:, : self._shared(values)], -1)
        if self._shared(values) == values.shape[-1]:
            return shared
        return shared + self.cluster.sum([tf.reduce_sum(values[:, self._shared(values) :], -1)], name)[0]

    def _half_squares(self, q: tf.Tensor) -> tf.Tensor:
        return q**2 / (2.0 * self._scale(q) ** 2)

    def _scale(self, q: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.prior_scale, q.dtype)

    def _shared(self, q: tf.Tensor) -> int:
        return q.shape[-1] if self.local is None else self.local.num_shared
