"""The log posterior of a network's parameters, including local latents.

Local latents are parameters that belong to one example, for instance a user's factors, and live on its rank.
Legend: M chains, S draws, P shared parameters, O outputs; N examples of a batch, n of this rank, each with L latents.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.data import shards
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.log_posterior import LOCAL, Local, LogPosterior
from bnn_hvd.inference.method import Forward
from bnn_hvd.models.layers import Wide
from bnn_hvd.models.network import Network

INITIAL_SCALE = 0.1  # of local latents, relative to the scale of their prior


@dataclasses.dataclass(frozen=True)
class NetworkPosterior:
    """The posterior of q [M, Q] = [theta (P), local latents of this rank's examples (n L)].

    prior_scale: of the parameters without a prior scale of their own.
    chunk_examples: `size` of `Chunks`.
    """

    network: Network
    likelihood: Likelihood
    num_train: int
    cluster: Cluster
    prior_scale: float
    chunk_examples: int

    @property
    def mine(self) -> slice:
        """The indices of this rank's examples."""
        return shards.shard(self.num_train, self.cluster.rank, self.cluster.size)

    @property
    def draw_size(self) -> int:
        """The numbers in one draw, with the local latents of all ranks."""
        return self.network.num_parameters + self.num_train * self.network.num_local

    def initial_latents(self, seed: np.ndarray) -> tf.Tensor:
        """Return the initial local latents [M, n, L]: INITIAL_SCALE times a draw from their own prior, else 0."""
        scale_L = np.concatenate(
            [np.full(p.size, INITIAL_SCALE * p.prior_scale, np.float32) for p in self.network.local_parameters]
        )
        shape = [self.num_train, len(scale_L)]  # of all examples, so that they do not depend on the number of ranks
        return (
            tf.stack([tf.random.stateless_normal(shape, one)[self.mine] for one in seeds.derive(seed, purpose=LOCAL)])
            * scale_L
        )

    def joined(self, theta_MP: tf.Tensor, latents_MnL: tf.Tensor | None) -> tf.Tensor:
        """Return q [M, Q] = [theta, latents]."""
        if latents_MnL is None:
            return theta_MP
        return tf.concat([theta_MP, tf.reshape(latents_MnL, [theta_MP.shape[0], -1])], -1)

    def parts(self, q: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return theta [M, P] and the local latents [M, n, L], if there are any, of q [M, Q]."""
        size = self.network.num_parameters
        if not self.network.local_parameters:
            return q, None
        return q[:, :size], tf.reshape(q[:, size:], [q.shape[0], -1, self.network.num_local])

    def target(self, batch: Batch) -> LogPosterior:
        """Return the log posterior of q; batch: this rank's shard of all examples."""
        threads = tf.config.threading.get_inter_op_parallelism_threads() or 1
        local, scales = self._local()
        return LogPosterior(
            self._log_likelihood, batch, self.cluster, scales, local, self.chunk_examples, self._score, threads
        )

    def forward(self, theta_SP: tf.Tensor, latents_SnL: tf.Tensor | None = None) -> Forward:
        """Return the function x [N, ...] -> outputs [S, N, O] for S draws."""
        weights = self.network.unflatten(theta_SP)
        if latents_SnL is None:
            return lambda x: self.network.apply(weights, x)
        return lambda x: self.network.apply(weights | self._latents_of(latents_SnL, x), x)

    def _local(self) -> tuple[Local | None, Any]:
        """Return the layout of q, and the prior's standard deviation: one number, or [Q]."""
        each = self.network.num_local
        if not each:
            return None, self.prior_scale
        mine, (shared_P, scale_L) = self.mine, self.network.prior_scales(self.prior_scale)
        local = Local(self.network.num_parameters, slice(mine.start * each, mine.stop * each), self.num_train * each)
        return local, np.concatenate([shared_P, np.tile(scale_L, mine.stop - mine.start)])

    def _outputs(self, q: tf.Tensor, chunk: Batch) -> tf.Tensor:
        theta, latents = self.parts(q)
        weights: dict[str, Any] = self.network.unflatten(theta)
        weights |= {p.name: Wide(weights[p.name]) for p in self.network.parameters if p.is_dense}
        if latents is not None:
            weights |= self._latents_of(latents, chunk.x, self.mine.start)
        return self.network.apply(weights, chunk.x)

    def _log_likelihood(self, q: tf.Tensor, chunk: Batch) -> tf.Tensor:
        return -self.likelihood.total_nll(self._outputs(q, chunk), chunk.y)

    def _score(self, q: tf.Tensor, chunk: Batch) -> tf.Tensor:
        """Return the sum over a chunk of what the likelihood's score averages [M]."""
        return tf.reduce_sum(self.likelihood.score_parts(self._outputs(q, chunk), chunk.y), -1)

    def _latents_of(self, latents: tf.Tensor, x: tf.Tensor, first: int = 0) -> dict[str, tf.Tensor]:
        """Return by name, [M, N, ...], the latents of the examples with numbers x [N, 1].

        latents: [M, n, L], of the n examples from number `first` on.
        """
        index_N = tf.cast(x[:, 0], tf.int32) - first
        return self.network.unflatten_local(tf.gather(latents, index_N, axis=1))
