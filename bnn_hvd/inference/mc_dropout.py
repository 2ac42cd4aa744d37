"""Monte Carlo dropout: the noise of training, kept for prediction (Gal & Ghahramani 2016)."""

from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.config import TrainConfig
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.descent import State, descend
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.inference.objective import Controls, Draws
from bnn_hvd.models.layers import Dropout
from bnn_hvd.models.network import Network


class MCDropout:
    """Descends the loss of `MaximumAPosteriori` with dropout on the input of every layer but the first.

    A draw is one mask for each layer and each example of the pass: the i-th example has the i-th row of the
    masks of its draw, whatever other draws are beside it.
    """

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster, self.rate = network, likelihood, cluster, config.dropout_rate
        self.objective = MaximumAPosteriori(network, likelihood, num_train, config.prior_scale)
        self.optimizer = optimizers.make(config.optimizer, config.momentum)
        self.dropped = network.layers[1:] if self.rate else []

    def init(self, seed: np.ndarray) -> State:
        return State(self.network.initial(seed), self.optimizer)

    def step(self, state: State, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
        def loss_of(theta: tf.Tensor, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
            return self.objective.scalars(theta, batch, controls, lambda theta: self._weights(theta, controls.seed))

        return descend(state, batch, controls, loss_of, self.optimizer, self.cluster)

    def num_reduced(self) -> int:
        return self.network.num_parameters

    def num_draws(self, requested: int) -> int:
        return requested if self.dropped else 1

    def draw(self, state: State, draws: Draws):  # type: ignore[no-untyped-def]
        """Return the network with S draws of the masks."""
        theta = tf.convert_to_tensor(state.params)
        weights = self._weights(theta, draws.seeds)
        if self.dropped or len(theta.shape) == 2:
            return lambda x: self.network.apply(weights, x)
        return lambda x: self.network.apply(weights, x)[None]

    def marginals(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        return state.params.numpy(), np.zeros(0, np.float32)

    def _weights(self, theta: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        weights: dict[str, Any] = self.network.unflatten(theta)
        for index, layer in enumerate(self.dropped, start=1):
            kernel = f"{layer}/kernel"
            weights[kernel] = Dropout(weights[kernel], self.rate, seed + [0, index])
        return weights
