"""Hamiltonian Monte Carlo: draws from the exact posterior (Duane et al. 1987; Neal 2011).

Legend: M chains, K kept draws of each, T rows and V columns of the trace, S draws, P shared parameters; n examples of
this rank, each with L local latents.
"""

import copy
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.config import TrainConfig, fill, flag
from bnn_hvd.config.options import PARTICLES, MethodOptions, Values
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster, Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference import chunks, draw_ring, dual_averaging, hamiltonian
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.draw_ring import DrawRing
from bnn_hvd.inference.dual_averaging import StepSize
from bnn_hvd.inference.init_from import initial_theta
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.method import Draws, Forward, Marginals, Method, Picked, Scalars, State
from bnn_hvd.inference.network_posterior import NetworkPosterior
from bnn_hvd.models.network import Network

ACCEPT = 1  # purpose of a seed: the Metropolis acceptance; local momenta have LOCAL (log_posterior.py)
LENGTH = -1  # replaces a chain's half of the seed where all chains draw the same number
TINY = 1e-30
MOST_BYTES = 1 << 35  # of the kept draws of a run with local latents


@dataclasses.dataclass(frozen=True)
class HmcOptions(MethodOptions):
    """Flags of hmc. Its chains are the particles of other methods."""

    takes = PARTICLES | {
        "init_seed",
        "init_from",
        "until_converged",
    }  # a step takes all the data, and the posterior as it is
    needs_particles = True
    full_batch = True

    num_chains: int | None = flag(
        None, "--method=hmc", "Markov chains (default 1); may be raised on a finished run", minimum=1, identity=False
    )
    chain_groups: int = flag(
        1, "--method=hmc", "groups of ranks, each with its own chains; the data are split over the ranks of a group",
        minimum=1, identity=False,
    )  # fmt: skip
    hmc_leapfrog_steps: int = flag(
        50, "--method=hmc", "leapfrog steps of a trajectory; a training step is one trajectory", minimum=1
    )
    hmc_jitter: float = flag(
        0.0, "--method=hmc", "a trajectory's length is --hmc_leapfrog_steps times a uniform random number within 1 +- "
        "this, in [0, 1)", minimum=0, below=1,
    )  # fmt: skip
    hmc_step_size: float = flag(0.001, "--method=hmc", "initial step size of the leapfrog integrator", minimum=1e-12)
    hmc_burn_in_steps: int | None = flag(
        None, "--method=hmc", "trajectories of burn-in: dual averaging of the step size, no kept draws (default: half)",
        minimum=0,
    )  # fmt: skip
    hmc_target_accept: float = flag(
        0.8, "--method=hmc", "target acceptance of dual averaging, in (0, 1); longer trajectories need a higher one",
        minimum=0.01, below=1,
    )  # fmt: skip
    hmc_keep_every_steps: int = flag(1, "--method=hmc", "trajectories from one kept draw to the next", minimum=1)
    hmc_kept_draws: int | None = flag(
        None, "--method=hmc", "the last so many draws of each chain are kept (default: all after burn-in)", minimum=1
    )
    hmc_float64_accept: bool = flag(
        False, "--method=hmc", "compute the accept ratio in float64: two more passes over the data per trajectory"
    )
    chunk_examples: int = flag(
        0, "--method=hmc", "examples per forward and backward pass; 0: as many as fit into a core's cache",
        minimum=0, identity=False,
    )  # fmt: skip

    def evaluations(self, num_particles: int) -> int:
        """Return the leapfrog steps of a trajectory, which is an epoch, of all chains."""
        return self.hmc_leapfrog_steps * num_particles

    @property
    def rank_groups(self) -> int:
        return self.chain_groups

    @classmethod
    def fill(cls, values: Values) -> None:
        chains, particles = values["num_chains"], values["num_particles"]
        if chains and particles and chains != particles:
            raise UserError(
                f"--num_chains={chains} and --num_particles={particles} mean the same of hmc: give one of them"
            )
        values["num_chains"] = values["num_particles"] = chains or particles or 1
        total = values["steps"] or values["epochs"] or 10
        fill(values, hmc_burn_in_steps=total // 2)
        kept = (total - values["hmc_burn_in_steps"]) // values["hmc_keep_every_steps"]
        if kept < 1 and not values["hmc_kept_draws"]:
            raise UserError(
                f"of {total} steps, {values['hmc_burn_in_steps']} of them burn-in, none is kept: raise --steps, or "
                "lower --hmc_burn_in_steps or --hmc_keep_every_steps"
            )
        fill(values, hmc_kept_draws=kept)


class Hmc(Method):
    """M chains theta [M, P]. A step is one leapfrog trajectory on the data of all ranks, with a Metropolis acceptance.

    The target is log prior + log likelihood, without mini-batches or a temperature. During burn-in, dual averaging
    tunes the step size of each chain. After burn-in, the position of each chain is kept every `every` steps, in a ring
    of K rows. A draw is one of the kept positions.

    The state always has the axis of chains. Its slots are the ring `draws` [M, K, P], the ring `trace` [M, T, V] with
    the columns `trace`, and the variables of dual averaging, [M] each.

    Local latents are on the rank that has their example: `local` [M, n, L] and its ring `local_draws` [M, K, n, L] are
    those of this rank's n examples. theta is equal on all ranks.
    """

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood = network, likelihood
        self.num_labels = num_train * likelihood.labels_per_example
        options = config.method.options_as(HmcOptions)
        chains = options.num_chains or 1
        chunk = options.chunk_examples or chunks.chunk_for(network, max(1, chains // options.chain_groups))
        self.posterior = NetworkPosterior(network, likelihood, num_train, cluster, config.network.prior_scale, chunk)
        self.ring = DrawRing(options.hmc_burn_in_steps or 0, options.hmc_keep_every_steps, options.hmc_kept_draws or 1)
        self.config, self.jitter = config, options.hmc_jitter
        self.first_step_size, self.target_accept = options.hmc_step_size, options.hmc_target_accept
        self.leapfrog_steps, self.float64_accept = options.hmc_leapfrog_steps, options.hmc_float64_accept
        self.kept_bytes = 4 * chains * self.ring.rows * self.posterior.draw_size
        if network.local_parameters and self.kept_bytes > MOST_BYTES:
            raise UserError(
                f"{self.ring.rows} draws of {chains} chains, with the parameters of {num_train} examples, "
                f"are {self.kept_bytes / 2**30:.0f} GiB: keep fewer, by --hmc_kept_draws or --hmc_keep_every_steps"
            )

    def init(self, seed: np.ndarray) -> State:
        assert seed.ndim == 2, "chains have the axis M"
        theta = initial_theta(self.config, self.network, seed)
        state, (chains, size), ring = State(theta), theta.shape, self.ring
        first = tf.fill([chains], tf.math.log(self.first_step_size))
        slots = {
            "draws": tf.zeros([chains, ring.rows, size]),
            "trace": tf.zeros([chains, ring.burn_in + ring.rows * ring.every, len(self.trace)]),
            "log_step_size": first, "log_mean_step_size": first, "accept_error": tf.zeros([chains]),
        }  # fmt: skip
        if self.network.local_parameters:
            local = self.posterior.initial_latents(seed)
            slots |= {"local": local, "local_draws": tf.zeros([chains, ring.rows, *local.shape[1:]])}
            state.example_axis = {"hmc_local:0": 1, "hmc_local_draws:0": 2}
        state.slots |= {name: tf.Variable(value, name=f"hmc_{name}") for name, value in slots.items()}
        return state

    @property
    def trace(self) -> tuple[str, ...]:
        """The columns of the trace."""
        return ("log_posterior", self.likelihood.score_name, "accept", "step_size", "divergent")

    def alone(self) -> "Hmc":
        """Return the method for a gathered state, which has the local latents of all examples."""
        alone = copy.copy(self)
        alone.posterior = dataclasses.replace(self.posterior, cluster=Solo())
        return alone

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        """batch: this rank's shard of all examples. controls.seed [M, 2]: equal on all ranks that share the chains."""
        target = self.posterior.target(batch)
        q = self.posterior.joined(tf.convert_to_tensor(state.params), state.slots.get("local"))
        step_size = self._step_size(state)
        p = target.momentum(controls.seed, q.shape[-1])
        start = target.evaluate(q, score=True)
        end = hamiltonian.leapfrog(target, start, q, p, step_size, self._length(controls.seed))
        log_ratio = hamiltonian.log_accept_ratio(target, q, p, end, self.float64_accept)
        accepted, probability, divergent = hamiltonian.metropolis(
            log_ratio, seeds.derive(controls.seed, purpose=ACCEPT)
        )
        q = tf.where(accepted[:, None], end.q, q)
        change = tf.cast(end.log_likelihood_change, tf.float32)
        log_likelihood = start.log_likelihood + tf.where(accepted, change, 0.0)
        log_posterior = log_likelihood + tf.cast(target.log_prior(q), tf.float32)
        score = self.likelihood.score_of_mean(start.score / self.num_labels)
        row = {
            "log_posterior": log_posterior, self.likelihood.score_name: score, "accept": probability,
            "step_size": step_size, "divergent": tf.cast(divergent, tf.float32),
        }  # fmt: skip
        self._update_step_size(state, probability)
        self._write(state, q, tf.stack([row[name] for name in self.trace], -1))
        scalars = {"loss": -log_posterior / self.num_labels, "nll": -log_likelihood / self.num_labels, **row}
        means = {name: tf.reduce_mean(value) for name, value in scalars.items()}
        return {**means, "loss_here": means["loss"], "communication_s": end.communication_s}

    def _step_size(self, state: State) -> tf.Tensor:
        """Return the step size of each chain [M]: during burn-in the latest, then the average."""
        sizes = _step_sizes(state)
        return tf.exp(tf.where(self._burning_in(state), sizes.log_now, sizes.log_average))

    def _update_step_size(self, state: State, probability: tf.Tensor) -> None:
        """Update dual averaging during burn-in, from the acceptance probability [M] of a trajectory."""
        sizes, burning_in = _step_sizes(state), self._burning_in(state)
        new = dual_averaging.updated(
            sizes, probability, self.target_accept, self.first_step_size, state.step + 1
        )  # fmt: skip
        for before, after in zip(sizes, new, strict=True):
            before.assign(tf.where(burning_in, after, before))

    def _burning_in(self, state: State) -> tf.Tensor:
        return state.step < self.ring.burn_in

    def _length(self, seeds_M2: tf.Tensor) -> Any:
        """Return the number of leapfrog steps of a trajectory, for all chains: random with --hmc_jitter.

        With a fixed length, directions whose period divides it return to where they were in every trajectory (Neal
        2011, section 5.4.3).
        """
        if not self.jitter:
            return self.leapfrog_steps
        of_step = tf.stack([tf.constant(LENGTH, tf.int64), seeds_M2[0, 1]])  # seed[0] differs between chains
        factor = tf.random.stateless_uniform([], of_step, 1 - self.jitter, 1 + self.jitter)
        return tf.maximum(1, tf.cast(tf.round(self.leapfrog_steps * factor), tf.int32))

    def _write(self, state: State, q: tf.Tensor, trace_MV: tf.Tensor) -> None:
        """Write the new positions q [M, Q], a row of the trace [M, V] and, if one is due, a kept draw."""
        draw_ring.write_row(state.slots["trace"], tf.cast(state.step, tf.int32), trace_MV)
        theta, local = self.posterior.parts(q)
        state.params.assign(theta)
        draws = {"draws": theta}
        if local is not None:
            state.slots["local"].assign(local)
            draws["local_draws"] = local
        state.step.assign_add(1)
        self.ring.write(state.slots, draws, state.step)

    def num_reduced(self) -> int:
        return self.num_allreduces() * self.network.num_parameters

    def num_allreduces(self) -> int:
        return self.leapfrog_steps + 1

    def num_draws(self, requested: int) -> int:
        return min(requested, self.ring.rows)  # of each chain

    def picked(self, state: State, chain_S: tf.Tensor, index_S: tf.Tensor) -> Picked:
        """Return S kept draws, theta [S, P] and latents [S, n, L]: entry s is draw index_S[s] of chain chain_S[s]."""

        def at(ring: str, now: tf.Tensor) -> tf.Tensor:
            return self.ring.pick(state.slots[ring], now, chain_S, index_S, state.step)

        local = {"local": at("local_draws", state.slots["local"])} if self.network.local_parameters else {}
        return Picked(at("draws", state.params), local)

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        """Return the S picked draws, local latents left out."""
        return self.network.unflatten(tf.convert_to_tensor(state.params))

    def draw(self, state: State | Picked, draws: Draws) -> Forward:
        """Return the network with the S picked draws."""
        return self.posterior.forward(tf.convert_to_tensor(state.params), state.slots.get("local"))

    def chains(self, state: State) -> np.ndarray:
        """Return the kept draws of theta of each chain, in the order of time [M, kept, P]."""
        return self.ring.in_order(state.slots["draws"].numpy(), int(state.step))

    def marginals(self, state: State) -> Marginals:
        """Return mean and standard deviation of the kept draws; of fewer than two, only the chains' mean position."""
        kept = int(self.ring.num_kept(state.step))
        draws = state.slots["draws"].numpy()[:, :kept].reshape(-1, self.network.num_parameters)
        if len(draws) < 2:
            return Marginals(state.params.numpy().mean(0))
        return Marginals(draws.mean(0), np.maximum(draws.std(0, ddof=1), TINY))


def _step_sizes(state: State) -> StepSize:
    return StepSize(*(state.slots[name] for name in ("log_step_size", "log_mean_step_size", "accept_error")))
