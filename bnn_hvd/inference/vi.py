"""Mean-field variational inference: a Normal per weight (Graves 2011; Blundell et al. 2015)."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from bnn_hvd import noise, seeds
from bnn_hvd.config import TrainConfig, fill, flag
from bnn_hvd.config.options import BAYESIAN, MethodOptions, Values
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.descent import descend, statistics_of
from bnn_hvd.inference.init_from import initial_theta
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.log_prior import log_prior
from bnn_hvd.inference.mean_field import for_each_member, log_density, perturb, variance
from bnn_hvd.inference.mean_field_step import MeanFieldStep
from bnn_hvd.inference.method import Draws, Marginals, Method, Picked, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.inference.scale_mixture import ScaleMixture
from bnn_hvd.models.layers import Flipout, LocalReparam
from bnn_hvd.models.network import Network, split

Parts = dict[str, tf.Tensor]  # by parameter name
LEAST_SCALE = 1e-6  # least initial scale under --init_relative_scale
ESTIMATORS = ("flipout", "reparam", "local_reparam")


@dataclasses.dataclass(frozen=True)
class VIOptions(MethodOptions):
    """Flags of vi."""

    takes = MethodOptions.takes | BAYESIAN | {"init_from"}
    takes_batch_norm = True
    has_scales = True
    prunable = True
    defaults: ClassVar[Values] = {"lr_schedule": "tail"}

    estimator: str = flag("", "--method=vi", "gradient estimator (default flipout)", choices=ESTIMATORS)
    prior: str = flag(
        "normal", "--method=vi", "prior of each weight: N(0, prior_scale^2), or a mixture of that with a narrow Normal",
        choices=("normal", "scale_mixture"),
    )  # fmt: skip
    prior_narrow_scale: float = flag(
        0.0025, "--method=vi", "standard deviation of the narrow Normal of --prior=scale_mixture", minimum=1e-12,
        needs="prior=scale_mixture",
    )  # fmt: skip
    prior_wide_weight: float = flag(
        0.5, "--method=vi", "weight of the wide Normal of --prior=scale_mixture, in (0, 1)", minimum=1e-12, below=1,
        needs="prior=scale_mixture",
    )  # fmt: skip
    prior_mean: str = flag(
        "zero", "--method=vi", "mean of the prior: 0, or the weights of --init_from (MOPED)",
        choices=("zero", "init_from"),
    )  # fmt: skip
    init_scale: float = flag(
        0.01, "--method=vi", "initial standard deviation of each weight's approximate posterior", minimum=1e-12,
        without="init_relative_scale",
    )  # fmt: skip
    init_relative_scale: float = flag(
        0.0, "--method=vi", "initial standard deviation as a fraction of |weight|, with --init_from; 0: --init_scale",
        minimum=0, needs="init_from",
    )  # fmt: skip

    @classmethod
    def fill(cls, values: Values) -> None:
        fill(values, estimator=ESTIMATORS[0])
        if values["prior"] == "scale_mixture" and values["estimator"] == "local_reparam":
            raise UserError(
                "--prior=scale_mixture needs draws of the weights, and --estimator=local_reparam draws activations: "
                "take flipout or reparam"
            )
        if values["prior_mean"] == "init_from" and not values["init_from"]:
            raise UserError("--prior_mean=init_from needs --init_from, the run directory of a point run")

    @classmethod
    def variant(cls, values: Values) -> str:
        return str(values["estimator"])


class VI(Method):
    """loss = mean_n -log p(y_n | x_n, w) + kl_weight * KL(q || p) / num_labels, in nats per label.

    q(w) = N(loc, scale^2) for the Bayesian weights; the others are deterministic, without a prior. The flat parameter
    vector is [log scale (B), loc (B), deterministic weights (P - B)]: P + B numbers.

    The prior is N(0, prior_scale^2), whose KL has a closed form, or a `ScaleMixture`, whose KL is estimated from the
    draw of the step. With prior_mean=init_from its mean is the weights of a trained network (MOPED, Krishnan et al.
    2020), which the state keeps.
    """

    optimizer: Optimizer

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster = network, likelihood, cluster
        self.num_labels = num_train * likelihood.labels_per_example
        options = config.method.options_as(VIOptions)
        self.prior_scale, self.estimator = config.network.prior_scale, options.estimator
        if network.is_keras and self.estimator == "local_reparam":
            raise UserError("--estimator=local_reparam is not for Keras models: take flipout or reparam")
        self.mixture = None
        if options.prior == "scale_mixture":
            self.mixture = ScaleMixture(options.prior_wide_weight, self.prior_scale, options.prior_narrow_scale)
        self.init_scale, self.init_relative_scale = options.init_scale, options.init_relative_scale
        self.config, self.centred = config, options.prior_mean == "init_from"
        rule = MeanFieldStep(
            optimizers.rule(config.schedule),
            network.num_bayesian,
            self.num_labels,
            self.init_scale,
            self.prior_scale,
            network.kernels(network.bayesian),
        )
        self.optimizer = optimizers.with_noise_scale(rule, network.num_noise_scales)

    def init(self, seed: np.ndarray) -> State:
        theta = initial_theta(self.config, self.network, seed)
        loc = theta[..., : self.network.num_bayesian]
        log_scale = tf.fill(loc.shape, math.log(self.init_scale))
        if self.init_relative_scale:
            log_scale = tf.math.log(tf.maximum(self.init_relative_scale * tf.abs(loc), LEAST_SCALE))
        state = State(tf.concat([log_scale, theta], -1), self.optimizer, self.network)
        if self.centred:
            state.slots["prior_mean"] = tf.Variable(loc, name="prior_mean")
        return state

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        prior_mean = tf.convert_to_tensor(state.slots["prior_mean"]) if self.centred else None

        def loss_of(params: tf.Tensor, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
            loc, log_scale, deterministic = self._parts(params)
            weights, kl = self._noisy_weights(loc, log_scale, deterministic, prior_mean, controls.seed)
            weights |= self.network.dropout(controls.seed)
            outputs, seen = self.network.apply_in_training(weights, batch.x)
            nll = tf.reduce_mean(self.likelihood.nll(outputs, batch.y), -1)
            loss = nll + controls.kl_weight * kl / self.num_labels
            return {"loss": loss, "nll": nll, "kl": kl, **self.likelihood.score(outputs, batch.y), **seen}

        return descend(state, batch, controls, loss_of, self.optimizer, self.cluster)

    def num_reduced(self) -> int:
        return self.network.num_parameters + self.network.num_bayesian + self.network.initial_statistics.size

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        """Return S draws of the Bayesian weights; the deterministic ones have no axis S."""
        loc, log_scale, deterministic = self._parts(tf.convert_to_tensor(state.params))
        eps_SB = noise.normals(draws.seeds, loc.shape[-1])
        weights = self.network.unflatten_bayesian(loc + tf.exp(log_scale) * eps_SB)
        return weights | deterministic | statistics_of(state)

    def num_random(self) -> int:
        return self.network.num_bayesian

    def log_ratios(self, state: State, draws: Draws, log_likelihood_S: tf.Tensor) -> tf.Tensor:
        loc, log_scale, _ = self._parts(tf.convert_to_tensor(state.params))
        eps_SB = noise.normals(draws.seeds, loc.shape[-1])
        prior_mean = state.slots["prior_mean"] if self.centred else 0.0
        w_SB = tf.cast(loc - prior_mean + tf.exp(log_scale) * eps_SB, tf.float64)
        prior_S = self.mixture.log_prob(w_SB) if self.mixture else log_prior(w_SB, self.prior_scale)
        return log_likelihood_S / self.config.schedule.kl_weight + prior_S - log_density(eps_SB, log_scale)

    def marginals(self, state: State) -> Marginals:
        bayesian = self.network.num_bayesian
        log_scale, theta = np.split(state.params.numpy(), [bayesian], axis=-1)
        return Marginals(theta, np.exp(log_scale))

    def _parts(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Parts]:
        """Return loc [..., B], log scale [..., B], and the deterministic weights by name."""
        bayesian, deterministic = self.network.num_bayesian, self.network.deterministic
        # One split, because a split of a split would copy twice.
        log_scale, loc, *parts = split(params, [bayesian, bayesian, *(p.size for p in deterministic)])
        shaped = (tf.reshape(part, [*part.shape[:-1], *p.shape]) for p, part in zip(deterministic, parts, strict=True))
        return loc, log_scale, dict(zip([p.name for p in deterministic], shaped, strict=True))

    def _noisy_weights(
        self, loc: tf.Tensor, log_scale: tf.Tensor, deterministic: Parts, prior_mean: tf.Tensor | None, seed: tf.Tensor
    ) -> tuple[dict[str, Any], tf.Tensor]:
        """Return the weights of one step, and the KL, [] or [M].

        One draw of the noise serves all layers; flipout's signs and local_reparam's noise are drawn per parameter.
        """
        prior_scale, named = tf.constant(self.prior_scale), self.network.unflatten_bayesian
        # The KL to a prior with mean m is that of N(loc - m, scale^2) to a prior with mean 0.
        distance = loc if prior_mean is None else loc - prior_mean
        if self.estimator == "local_reparam":
            distance, squares, kl = for_each_member(variance, prior_scale, distance, log_scale)
        else:
            distance, perturbation, kl = for_each_member(perturb, prior_scale, distance, log_scale, seed)
        if self.mixture:
            kl = self.mixture.kl(distance + perturbation, log_scale)
        loc = distance if prior_mean is None else distance + prior_mean
        if self.estimator == "local_reparam":
            return deterministic | self._local(named(loc), named(squares), seed), kl
        if self.estimator == "reparam":
            return deterministic | named(loc + perturbation), kl
        return deterministic | self._flipout(named(loc), named(perturbation), seed), kl

    def _flipout(self, locs: Parts, perturbations: Parts, seed: tf.Tensor) -> dict[str, Any]:
        """Return flipout kernels; a bias has no input for the signs to decorrelate, so it is one draw for the batch."""
        return {
            p.name: Flipout(locs[p.name], perturbations[p.name], seeds.derive(seed, layer=index))
            if p.is_kernel
            else locs[p.name] + perturbations[p.name]
            for index, p in enumerate(self.network.bayesian, start=1)
        }

    def _local(self, locs: Parts, variances: Parts, seed: tf.Tensor) -> dict[str, Any]:
        """Return local_reparam kernels of dense layers, and one draw for the batch of all other weights: only in dense
        layers are the activations independent, given the input."""
        weights: dict[str, Any] = {}
        for index, p in enumerate(self.network.bayesian, start=1):
            if p.is_kernel and len(p.shape) == 2:
                weights[p.name] = LocalReparam(locs[p.name], variances[p.name], seeds.derive(seed, layer=index))
            else:
                eps = tf.reshape(noise.normals(seeds.derive(seed, layer=index), p.size), locs[p.name].shape)
                weights[p.name] = locs[p.name] + tf.sqrt(variances[p.name]) * eps
        return weights
