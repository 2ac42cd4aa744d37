"""Mean-field variational inference: a Normal per weight (Graves 2011; Blundell et al. 2015)."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.cluster import Cluster
from bnn_hvd.config import TrainConfig
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.descent import State, batch_accuracy, descend
from bnn_hvd.inference.mean_field import perturb
from bnn_hvd.inference.objective import Controls, categorical_nll
from bnn_hvd.models.layers import Flipout, LocalReparam
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
            weights, kl = self._noisy_weights(loc, points, log_scale, controls.seed)
            logits = self.network.apply(weights, batch.x)
            nll = tf.reduce_mean(self.nll(logits, batch.y))
            loss = nll + controls.kl_weight * kl / self.num_train
            return {"loss": loss, "nll": nll, "kl": kl, "accuracy": batch_accuracy(logits, batch.y)}

        return descend(state, loss_of, self.optimizer, controls, self.cluster)

    def draw(self, state: State, seeds_S2: tf.Tensor):  # type: ignore[no-untyped-def]
        """Return the network with S draws of the Bayesian weights; what all draws share stays single."""
        loc, points, log_scale = self._split(tf.convert_to_tensor(state.params))
        eps_SB = tf.stack([noise.normals(seed, loc.shape[0]) for seed in tf.unstack(seeds_S2)])
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

    def _noisy_weights(
        self, loc: tf.Tensor, points: tf.Tensor, log_scale: tf.Tensor, seed: tf.Tensor
    ) -> tuple[dict[str, Any], tf.Tensor]:
        """Return the weights of one step, and the KL; one draw of the noise serves all layers."""
        perturbation, kl = perturb(loc, log_scale, seed, tf.constant(self.prior_scale))
        if self.estimator == "reparam":
            return self.network.unflatten(tf.concat([loc + perturbation, points], 0)), kl
        weights: dict[str, Any] = self.network.unflatten(tf.concat([loc, points], 0))
        perturbations = self.network.unflatten(perturbation, bayesian_only=True)
        log_scales = self.network.unflatten(log_scale, bayesian_only=True)
        for index, p in enumerate(self.network.bayesian, start=1):
            if p.is_kernel and self.estimator == "flipout":
                weights[p.name] = Flipout(weights[p.name], perturbations[p.name], seed + [0, index])
            elif p.is_kernel and len(p.shape) == 2:
                weights[p.name] = LocalReparam(weights[p.name], log_scales[p.name], seed + [0, index])
            else:
                # A bias has no input whose sign could decorrelate the examples, and the activations of
                # a convolution share their weights: these are drawn as they are.
                weights[p.name] += perturbations[p.name]
        return weights, kl
