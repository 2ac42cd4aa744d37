"""Hamiltonian Monte Carlo: draws from the posterior itself (Duane et al. 1987; Neal 2011).

Legend: M chains, K kept draws of each, S draws, P shared parameters; N examples of a batch, n of this rank, of which
each has L parameters for itself.
"""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.config import TrainConfig
from bnn_hvd.data import shards
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster, Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference import hamiltonian
from bnn_hvd.inference.descent import State
from bnn_hvd.inference.hamiltonian import StepSize
from bnn_hvd.inference.init_from import trained_theta
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.log_posterior import LOCAL, Local, LogPosterior
from bnn_hvd.inference.objective import Controls, Draws
from bnn_hvd.models.layers import Wide
from bnn_hvd.models.network import Network

TRACE = ("log_posterior", "accuracy", "accept", "step_size", "divergent")  # of each trajectory, in this order
ACCEPT = 1  # seeds of the accept test: seed + [0, ACCEPT]; those of local momenta come after
LENGTH = -1  # in the place of a chain's own half of the seed, for what the chains have in common
TINY = 1e-30
CONV_CHUNK = 64  # whose activations stay in the cache, more or less
OUTPUT_BYTES = 2 << 20  # of the outputs of a chunk, where an example has very many: measured (docs/log.md)
MOST_BYTES = 1 << 35  # of the draws that a run keeps, where examples have parameters of their own


class Hmc:
    """M chains theta [M, P]. A step is one trajectory of leapfrogs on the data of all ranks, accepted or not.

    The target is log prior + log likelihood, as they are: no batches, no temperature, no learning rate. During
    burn-in the step size of each chain adapts to --hmc_target_accept; after it, each `every` steps the place of
    each chain is kept, in a ring of K rows. A draw is one of them.

    The state always has the axis of chains. Its slots: the ring `draws` [M, K, P], the ring `trace` [M, T, V] of
    what TRACE names, and the step size's adaptation.

    Parameters that each example has for itself (a user's factors) live where the example does: `local` [M, n, L] and
    their ring `local_draws` [M, K, n, L] have those of this rank's n examples. All ranks move theta and have it equal.
    """

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.num_train, self.cluster = network, likelihood, num_train, cluster
        self.prior_scale, self.init_from = config.prior_scale, config.init_from
        has_conv = any(len(p.shape) == 4 for p in network.parameters)
        self.chunk_examples = config.chunk_examples or (CONV_CHUNK if has_conv else 0)
        if network.of_example and not self.chunk_examples:
            together = max(1, (config.num_chains or 1) // config.chain_groups)
            self.chunk_examples = max(1, OUTPUT_BYTES // (4 * together * network.num_outputs))
        self.first_step_size, self.target_accept = config.hmc_step_size, config.hmc_target_accept
        self.leapfrog_steps, self.float64_accept = config.hmc_leapfrog_steps, config.hmc_float64_accept
        self.jitter = config.hmc_jitter
        self.burn_in, self.every = config.hmc_burn_in_steps or 0, config.hmc_keep_every_steps
        self.rows = config.hmc_kept_draws or 1
        self.kept_bytes = 4 * (config.num_chains or 1) * self.rows * self._num_of_draw()
        if network.of_example and self.kept_bytes > MOST_BYTES:
            raise UserError(
                f"{self.rows} draws of {config.num_chains} chains, with the parameters of {num_train} examples, are "
                f"{self.kept_bytes / 2**30:.0f} GiB: keep fewer, by --hmc_kept_draws or --hmc_keep_every_steps"
            )
        self.order = spread(self.rows)

    def init(self, seed: np.ndarray) -> State:
        assert seed.ndim == 2, "chains have the axis M"
        theta = self.network.initial(seed)
        if self.init_from:
            theta = tf.broadcast_to(trained_theta(self.init_from, self.network), theta.shape)
        state, (chains, size) = State(theta), theta.shape
        first = tf.fill([chains], tf.math.log(self.first_step_size))
        slots = {
            "draws": tf.zeros([chains, self.rows, size]),
            "trace": tf.zeros([chains, self.burn_in + self.rows * self.every, len(TRACE)]),
            "log_step_size": first, "log_mean_step_size": first, "accept_error": tf.zeros([chains]),
        }  # fmt: skip
        if self.network.of_example:
            local = self._initial_local(seed)
            slots |= {"local": local, "local_draws": tf.zeros([chains, self.rows, *local.shape[1:]])}
            state.example_axis = {"hmc_local:0": 1, "hmc_local_draws:0": 2}
        state.slots |= {name: tf.Variable(value, name=f"hmc_{name}") for name, value in slots.items()}
        return state

    def alone(self) -> "Hmc":
        """Return the method for a state that has the parameters of all examples in one place."""
        alone = copy.copy(self)
        alone.cluster = Solo()
        return alone

    @property
    def mine(self) -> slice:
        """Which examples are this rank's."""
        return shards.shard(self.num_train, self.cluster.rank, self.cluster.size)

    def _initial_local(self, seed: np.ndarray) -> tf.Tensor:
        """Return what the local parameters start with [M, n, L]: factors a tenth of their prior, biases 0."""
        scale_L = np.concatenate([np.full(p.size, 0.1 * p.prior_scale, np.float32) for p in self.network.of_example])
        shape = [self.num_train, len(scale_L)]  # all of them, to take a part: an example's don't depend on the ranks
        return tf.stack([tf.random.stateless_normal(shape, one)[self.mine] for one in seed + [0, LOCAL]]) * scale_L

    def _num_of_draw(self) -> int:
        """Return how many numbers a draw is, of all ranks."""
        return self.network.num_parameters + self.num_train * self.network.num_of_example

    def step(self, state: State, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
        """batch: this rank's shard of all examples. controls.seed [M, 2] is the same on all ranks of a chain."""
        target, q = self.target(batch), self._place(state)
        sizes = StepSize(*(state.slots[name] for name in ("log_step_size", "log_mean_step_size", "accept_error")))
        burning_in = state.step < self.burn_in
        step_size = tf.exp(tf.where(burning_in, sizes.log_now, sizes.log_average))
        p = target.momentum(controls.seed, q.shape[-1])
        start = target.evaluate(q, score=True)
        end = hamiltonian.leapfrog(target, start, q, p, step_size, self._length(controls.seed))
        log_ratio = hamiltonian.log_accept_ratio(target, q, p, end, self.float64_accept)
        verdict = hamiltonian.judge(log_ratio, controls.seed + [0, ACCEPT])

        q = tf.where(verdict.accepted[:, None], end.q, q)
        log_likelihood = start.log_likelihood + tf.where(verdict.accepted, end.log_likelihood_change, 0.0)
        log_posterior = log_likelihood + tf.cast(target.log_prior(q), tf.float32)
        row = {
            "log_posterior": log_posterior, "accuracy": start.score / self.num_train, "accept": verdict.probability,
            "step_size": step_size, "divergent": tf.cast(verdict.divergent, tf.float32),
        }  # fmt: skip
        adapted = hamiltonian.adapt(
            sizes, verdict.probability, self.target_accept, self.first_step_size, state.step + 1
        )  # fmt: skip
        for before, after in zip(sizes, adapted, strict=True):
            before.assign(tf.where(burning_in, after, before))
        self._write(state, q, tf.stack([row[name] for name in TRACE], -1))
        loss = -log_posterior / self.num_train
        scalars = {"loss": loss, "nll": -log_likelihood / self.num_train, **row}
        means = {name: tf.reduce_mean(value) for name, value in scalars.items()}
        return {**means, "loss_here": means["loss"], "communication_s": end.communication_s}

    def _length(self, seeds_M2: tf.Tensor) -> Any:
        """Return the leapfrog steps of a trajectory, of all chains the same: with --hmc_jitter a number around theirs.

        Of equal length, trajectories bring directions of some frequencies back to where they were, every time
        (Neal 2011, section 5.4.3).
        """
        if not self.jitter:
            return self.leapfrog_steps
        of_step = tf.stack([tf.constant(LENGTH, tf.int64), seeds_M2[0, 1]])  # the first number tells the chains apart
        factor = tf.random.stateless_uniform([], of_step, 1 - self.jitter, 1 + self.jitter)
        return tf.maximum(1, tf.cast(tf.round(self.leapfrog_steps * factor), tf.int32))

    def target(self, batch: Batch) -> LogPosterior:
        """Return the log posterior of theta, with this rank's shard of the data."""

        size, here = self.network.num_parameters, self.mine

        def outputs(q: tf.Tensor, chunk: Batch) -> tf.Tensor:
            weights: dict[str, Any] = self.network.unflatten(q[:, :size])
            dense = {p.name: Wide(weights[p.name]) for p in self.network.parameters if p.is_dense}
            if local:
                latents = tf.reshape(q[:, size:], [q.shape[0], -1, self.network.num_of_example])
                dense |= self._of_examples(latents, chunk.x, here.start)
            return self.network.apply(weights | dense, chunk.x)

        def log_likelihood(q: tf.Tensor, chunk: Batch) -> tf.Tensor:
            return -self.likelihood.total_nll(outputs(q, chunk), chunk.y)

        def right(q: tf.Tensor, chunk: Batch) -> tf.Tensor:
            scores = self.likelihood.score(outputs(q, chunk), chunk.y)
            mean = scores.get("accuracy", tf.zeros(q.shape[:1]))
            return mean * tf.cast(tf.shape(chunk.y)[0], tf.float32)

        local, scales = None, self.prior_scale
        if each := self.network.num_of_example:
            local = Local(size, slice(here.start * each, here.stop * each), self.num_train * each)
            shared_P, of_example_L = self.network.prior_scales(self.prior_scale)
            scales = np.concatenate([shared_P, np.tile(of_example_L, here.stop - here.start)])
        threads = tf.config.threading.get_inter_op_parallelism_threads() or 1
        return LogPosterior(log_likelihood, batch, self.cluster, scales, local, self.chunk_examples, right, threads)

    def _place(self, state: State) -> tf.Tensor:
        """Return where the chains are, q [M, Q]: theta, and the parameters of this rank's examples."""
        theta = tf.convert_to_tensor(state.params)
        if not self.network.of_example:
            return theta
        return tf.concat([theta, tf.reshape(state.slots["local"], [theta.shape[0], -1])], -1)

    def _of_examples(self, latents: tf.Tensor, x: tf.Tensor, first: int = 0) -> dict[str, tf.Tensor]:
        """Return the parameters of the examples x [N, 1] by name; latents [M, n, L] begin at example `first`."""
        index_N = tf.cast(x[:, 0], tf.int32) - first
        return self.network.unflatten_of_example(tf.gather(latents, index_N, axis=1))

    def num_reduced(self) -> int:
        return (self.leapfrog_steps + 1) * self.network.num_parameters

    def num_draws(self, requested: int) -> int:
        return min(requested, self.rows)  # of each chain

    def num_kept(self, step: Any) -> Any:
        """Return how many rows of the ring are filled after so many steps."""
        return tf.clip_by_value((step - self.burn_in) // self.every, 0, self.rows)

    def picked(self, state: State, chain_S: tf.Tensor, index_S: tf.Tensor) -> SimpleNamespace:
        """Return a state with draw index_S[s] of chain chain_S[s] in place s; before any is kept, where the chain is.

        Few draws are spread over the whole chain.
        """
        kept = tf.cast(self.num_kept(state.step), tf.int32)
        row_S = tf.gather(self.order, index_S % self.rows) % tf.maximum(kept, 1)
        place_S2 = tf.stack([chain_S, row_S], -1)

        def at(ring: str, now: tf.Tensor) -> tf.Tensor:
            return tf.where(kept > 0, tf.gather_nd(state.slots[ring], place_S2), tf.gather(now, chain_S))

        local = at("local_draws", state.slots["local"]) if self.network.of_example else None
        return SimpleNamespace(params=at("draws", state.params), local=local)

    def draw(self, state: Any, draws: Draws):  # type: ignore[no-untyped-def]
        """Return the networks of the S draws picked."""
        return self.forward(tf.convert_to_tensor(state.params), state.local)

    def forward(self, theta_SP: tf.Tensor, local_SnL: tf.Tensor | None = None) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return x [N, ...] -> outputs [S, N, O] of settings of the parameters, with those of n examples."""
        weights = self.network.unflatten(theta_SP)
        if local_SnL is None:
            return lambda x: self.network.apply(weights, x)
        return lambda x: self.network.apply(weights | self._of_examples(local_SnL, x), x)

    def marginals(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of what is kept; before there are two, where the chains are."""
        kept = int(self.num_kept(state.step))
        draws = state.slots["draws"].numpy()[:, :kept].reshape(-1, self.network.num_parameters)
        if len(draws) < 2:
            return state.params.numpy().mean(0), np.zeros(0, np.float32)
        return draws.mean(0), np.maximum(draws.std(0, ddof=1), TINY)

    def _write(self, state: State, q: tf.Tensor, trace_MV: tf.Tensor) -> None:
        """Move the chains, and write the rows of the rings that are due."""
        rows = state.slots["trace"].shape[1]
        state.slots["trace"][:, tf.cast(state.step, tf.int32) % rows, :].assign(trace_MV)
        size = self.network.num_parameters
        now = {"draws": q[:, :size]}
        if self.network.of_example:
            now["local_draws"] = tf.reshape(q[:, size:], state.slots["local"].shape)
            state.slots["local"].assign(now["local_draws"])
        state.params.assign(now["draws"])
        state.step.assign_add(1)
        beyond = tf.cast(state.step - self.burn_in, tf.int32)
        due = tf.logical_and(beyond > 0, tf.equal(beyond % self.every, 0))
        row = (beyond // self.every - 1) % self.rows

        def keep() -> tf.Tensor:
            for ring, place in now.items():
                state.slots[ring][:, row].assign(place)
            return tf.constant(True)

        tf.cond(due, keep, lambda: tf.constant(True))


def spread(count: int) -> np.ndarray:
    """Return range(count) in an order whose every beginning is spread evenly: steps of the golden section."""
    stride = next((s for s in range(round(count * 0.618), count) if np.gcd(s, count) == 1), 1)
    return (np.arange(count) * stride % count).astype(np.int32)
