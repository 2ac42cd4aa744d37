"""One setting of the weights: maximum a posteriori, the baseline of every Bayesian method."""

import numpy as np
import tensorflow as tf

from bnn_hvd.cluster import Cluster
from bnn_hvd.config import TrainConfig
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.descent import State, batch_accuracy, descend
from bnn_hvd.inference.objective import Controls, categorical_nll, log_prior
from bnn_hvd.models.network import Network


class Point:
    """loss = mean_n -log p(y_n | x_n, theta) - kl_weight * log p(theta) / num_train, in nats per example."""

    stochastic = False  # every draw is the same network

    def __init__(self, network: Network, num_train: int, cluster: Cluster, config: TrainConfig, nll=categorical_nll):  # type: ignore[no-untyped-def]
        self.network, self.num_train, self.cluster, self.nll = network, num_train, cluster, nll
        self.prior_scale = config.prior_scale
        self.optimizer = optimizers.make(config.optimizer, config.momentum)

    def init(self, seed: np.ndarray) -> State:
        return State(self.network.initial(seed), self.optimizer)

    def step(self, state: State, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
        def loss_of(theta: tf.Tensor) -> dict[str, tf.Tensor]:
            logits = self.network.apply(self.network.unflatten(theta), batch.x)
            nll = tf.reduce_mean(self.nll(logits, batch.y))
            loss = nll - controls.kl_weight * log_prior(theta, self.prior_scale) / self.num_train
            return {"loss": loss, "nll": nll, "accuracy": batch_accuracy(logits, batch.y)}

        return descend(state, loss_of, self.optimizer, controls, self.cluster)

    def draw(self, state: State, seeds_S2: tf.Tensor):  # type: ignore[no-untyped-def]
        """Return the network itself, as S equal draws of which one is computed."""
        weights = self.network.unflatten(tf.convert_to_tensor(state.params))
        return lambda x: self.network.apply(weights, x)[None]

    def marginals(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        return state.params.numpy(), np.zeros(0, np.float32)
