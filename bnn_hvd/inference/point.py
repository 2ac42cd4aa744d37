"""One setting of the weights: maximum a posteriori, the baseline of every Bayesian method."""

import numpy as np
import tensorflow as tf

from bnn_hvd.config import TrainConfig
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.descent import State, descend, statistics_of
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.inference.objective import Controls, Draws
from bnn_hvd.models.network import Network


class Point:
    """Descends the loss of `MaximumAPosteriori`."""

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster = network, likelihood, cluster
        self.objective = MaximumAPosteriori(network, likelihood, num_train, config.prior_scale)
        self.optimizer = optimizers.make(config.optimizer, config.momentum)

    def init(self, seed: np.ndarray) -> State:
        return State(self.network.initial(seed), self.optimizer, self.network)

    def step(self, state: State, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
        return descend(state, batch, controls, self.objective.scalars, self.optimizer, self.cluster)

    def num_reduced(self) -> int:
        return self.network.num_parameters + self.network.initial_statistics.size

    def num_draws(self, requested: int) -> int:
        return 1  # every draw is the same network

    def draw(self, state: State, draws: Draws):  # type: ignore[no-untyped-def]
        """Return the network itself, as S equal draws of which one is computed; or the S members picked."""
        theta = tf.convert_to_tensor(state.params)
        weights = self.network.unflatten(theta) | statistics_of(state)
        if len(theta.shape) == 2:
            return lambda x: self.network.apply(weights, x)
        return lambda x: self.network.apply(weights, x)[None]

    def marginals(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        return state.params.numpy(), np.zeros(0, np.float32)
