"""Mean-field variational inference: a Normal per weight (Graves 2011; Blundell et al. 2015)."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.cluster import Cluster
from bnn_hvd.config import TrainConfig
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.descent import State, batch_accuracy, descend
from bnn_hvd.inference.objective import Batch, Controls, categorical_nll, kl_to_prior
from bnn_hvd.models.layers import Flipout
from bnn_hvd.models.network import Network


class VI:
    """loss = mean_n -log p(y_n | x_n, w) + kl_weight * KL(q || p) / num_train, in nats per example.

    q(w) = N(loc, scale^2) for the Bayesian weights; the others are points without a prior. The flat
    parameter vector is [loc of the Bayesian weights (B), the points (P - B), log scale (B)].
    """

    stochastic = True

    def __init__(self, network: Network, num_train: int, cluster: Cluster, config: TrainConfig, nll=categorical_nll):  # type: ignore[no-untyped-def]
        self.network, self.num_train, self.cluster, self.nll = network, num_train, cluster, nll
        self.prior_scale, self.init_scale, self.estimator = config.prior_scale, config.init_scale, config.estimator
        self.optimizer = optimizers.make(config.optimizer, config.momentum)

    def init(self, seed: np.ndarray) -> State:
        log_scale = tf.fill([self.network.num_bayesian], math.log(self.init_scale))
        return State(tf.concat([self.network.initial(seed), log_scale], 0), self.optimizer)

    def step(self, state: State, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
        def loss_of(params: tf.Tensor) -> dict[str, tf.Tensor]:
            loc, points, log_scale = self._split(params)
            scale = tf.exp(log_scale)
            weights = self._noisy_weights(loc, points, scale, controls.seed)
            logits = self.network.apply(weights, batch.x)
            nll = tf.reduce_mean(self.nll(logits, batch.y))
            kl = kl_to_prior(loc, log_scale, scale, self.prior_scale)
            loss = nll + controls.kl_weight * kl / self.num_train
            return {"loss": loss, "nll": nll, "kl": kl, "accuracy": batch_accuracy(logits, batch.y)}

        return descend(state, loss_of, self.optimizer, controls, self.cluster)

    def draw(self, state: State, seeds_S2: tf.Tensor):  # type: ignore[no-untyped-def]
        """Return the network with S draws of the Bayesian weights; what all draws share stays single."""
        loc, points, log_scale = self._split(tf.convert_to_tensor(state.params))
        eps_SB = tf.stack([tf.random.stateless_normal([loc.shape[0]], seed) for seed in tf.unstack(seeds_S2)])
        weights = {
            **self.network.unflatten(tf.concat([loc, points], 0)),
            **self.network.unflatten(loc + tf.exp(log_scale) * eps_SB, bayesian_only=True),
        }
        return lambda x: self.network.apply(weights, x)

    def marginals(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        params = state.params.numpy()
        return params[: self.network.num_parameters], np.exp(params[self.network.num_parameters :])

    def _split(self, params: tf.Tensor) -> list[tf.Tensor]:
        bayesian = self.network.num_bayesian
        return tf.split(params, [bayesian, self.network.num_parameters - bayesian, bayesian])

    def _noisy_weights(self, loc: tf.Tensor, points: tf.Tensor, scale: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """Return the weights of one step; one draw of the noise serves all layers."""
        perturbation = scale * tf.random.stateless_normal(loc.shape, seed)
        if self.estimator == "reparam":
            return self.network.unflatten(tf.concat([loc + perturbation, points], 0))
        weights = self.network.unflatten(tf.concat([loc, points], 0))
        for index, (name, part) in enumerate(self.network.unflatten(perturbation, bayesian_only=True).items()):
            # A Bayesian bias has no input whose sign could decorrelate the examples: it is drawn as it is.
            is_kernel = name.endswith("kernel")
            weights[name] = Flipout(weights[name], part, seed + [0, index + 1]) if is_kernel else weights[name] + part
        return weights
