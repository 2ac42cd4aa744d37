"""Point estimate: maximum a posteriori, the baseline of every Bayesian method."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.config import TrainConfig
from bnn_hvd.config.options import MethodOptions
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.descent import descend, statistics_of
from bnn_hvd.inference.init_from import initial_theta
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.inference.method import Draws, Forward, Method, Picked, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.network import Network


@dataclasses.dataclass(frozen=True)
class PointOptions(MethodOptions):
    """Facts of point; it has no flags of its own."""

    takes = MethodOptions.takes - {"noise_seed"} | {"init_from"}
    takes_batch_norm = True
    single_draw = True
    prunable = True


class DeepEnsembleOptions(PointOptions):
    """Facts of --method=ensemble: `Point`, as the members of an `Ensemble` (ensemble.py)."""

    takes = PointOptions.takes - {"init_from", "gradient_blocks"}
    needs_particles = True
    single_draw = False  # it always has particles


class Point(Method):
    """loss = mean_n -log p(y_n | x_n, theta) - kl_weight * log p(theta) / num_labels, in nats (map_loss.py)."""

    optimizer: Optimizer

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster, self.config = network, likelihood, cluster, config
        self.objective = MaximumAPosteriori(network, likelihood, num_train, config.network.prior_scale)
        self.optimizer = optimizers.make(config.schedule, network.num_noise_scales)

    def init(self, seed: np.ndarray) -> State:
        return State(initial_theta(self.config, self.network, seed), self.optimizer, self.network)

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        return descend(state, batch, controls, self.objective.scalars, self.optimizer, self.cluster)

    def num_reduced(self) -> int:
        return self.network.num_parameters + self.network.initial_statistics.size

    def num_draws(self, requested: int) -> int:
        return 1  # every draw is the same network

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        return self.network.unflatten(tf.convert_to_tensor(state.params)) | statistics_of(state)

    def draw(self, state: State | Picked, draws: Draws) -> Forward:
        """Return the network: [1, N, O], as all draws are equal; of picked members [S, N, O], one for each draw."""
        outputs = super().draw(state, draws)
        return outputs if len(state.params.shape) == 2 else lambda x: outputs(x)[None]
