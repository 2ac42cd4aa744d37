"""Monte Carlo dropout: dropout also in prediction (Gal & Ghahramani 2016)."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.config import TrainConfig, flag
from bnn_hvd.config.options import MethodOptions
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.descent import descend
from bnn_hvd.inference.init_from import initial_theta
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.inference.method import Draws, Forward, Method, Picked, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.layers import Dropout
from bnn_hvd.models.network import Network


@dataclasses.dataclass(frozen=True)
class MCDropoutOptions(MethodOptions):
    """Flags of mc_dropout."""

    takes = MethodOptions.takes | {"init_from"}
    prunable = True

    dropout_rate: float = flag(
        0.1, "--method=mc_dropout", "fraction of the inputs of each layer but the first that is dropped, in [0, 1)",
        minimum=0, below=1,
    )  # fmt: skip


class MCDropout(Method):
    """Minimises the loss of `MaximumAPosteriori`, with dropout on the input of every layer but the first.

    A draw is one mask for each layer and each example of the forward pass. The mask of example i does not depend on the
    other draws.
    """

    optimizer: Optimizer

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, cluster: Cluster, config: TrainConfig):
        self.network, self.likelihood, self.cluster, self.config = network, likelihood, cluster, config
        self.rate = config.method.options_as(MCDropoutOptions).dropout_rate
        self.objective = MaximumAPosteriori(network, likelihood, num_train, config.network.prior_scale)
        self.optimizer = optimizers.make(config.schedule, network.num_noise_scales)
        self.dropped = network.layers[1:] if self.rate and not network.is_keras else []
        if network.is_keras and not network.has_dropout:
            raise UserError(
                f"--architecture={config.network.architecture} has no Dropout layer, and mc_dropout uses those of the "
                "model: add some, or take another --method"
            )

    def init(self, seed: np.ndarray) -> State:
        return State(initial_theta(self.config, self.network, seed), self.optimizer)

    def step(self, state: State, batch: Batch, controls: Controls) -> Scalars:
        def loss_of(theta: tf.Tensor, batch: Batch, controls: Controls) -> dict[str, tf.Tensor]:
            return self.objective.scalars(theta, batch, controls, lambda theta: self._weights(theta, controls.seed))

        return descend(state, batch, controls, loss_of, self.optimizer, self.cluster)

    def num_reduced(self) -> int:
        return self.network.num_parameters

    def num_draws(self, requested: int) -> int:
        return requested if self.draws_differ else 1

    @property
    def draws_differ(self) -> bool:
        return bool(self.dropped or self.network.has_dropout)

    def weights(self, state: State | Picked, draws: Draws) -> dict[str, Any]:
        """Return the weights, with S draws of the masks on the kernels."""
        return self._weights(tf.convert_to_tensor(state.params), draws.seeds)

    def draw(self, state: State | Picked, draws: Draws) -> Forward:
        """Return the network with S draws of the masks."""
        outputs = super().draw(state, draws)
        return outputs if self.draws_differ or len(state.params.shape) == 2 else lambda x: outputs(x)[None]

    def _weights(self, theta: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        weights: dict[str, Any] = self.network.unflatten(theta) | self.network.dropout(seed)
        for index, layer in enumerate(self.dropped, start=1):
            kernel = f"{layer}/kernel"
            weights[kernel] = Dropout(weights[kernel], self.rate, seeds.derive(seed, layer=index))
        return weights
