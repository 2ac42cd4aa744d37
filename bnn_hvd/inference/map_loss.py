"""The maximum a posteriori loss of a network, which several methods share."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.likelihoods import Likelihood
from bnn_hvd.inference.log_prior import with_log_prior
from bnn_hvd.inference.method import Scalars
from bnn_hvd.models.network import Network

WeightsOf = Callable[[tf.Tensor], dict[str, Any]]


class MaximumAPosteriori:
    """loss = mean_n -log p(y_n | x_n, theta) - kl_weight * log p(theta) / num_labels, in nats per label."""

    def __init__(self, network: Network, likelihood: Likelihood, num_train: int, prior_scale: float):
        self.network, self.likelihood = network, likelihood
        self.num_labels, self.prior_scale = num_train * likelihood.labels_per_example, prior_scale

    def scalars(
        self, theta: tf.Tensor, batch: Batch, controls: Controls, weights_of: WeightsOf | None = None
    ) -> Scalars:
        """Return loss, nll and scores, [] or [M] for theta [P] or [M, P]; and batch statistics, if there are any.

        weights_of: from theta to the weights of the forward pass (default: `Network.unflatten`).
        """
        theta, log_prior = with_log_prior(theta, self.prior_scale)
        weights = self.network.dropout(controls.seed) | (weights_of or self.network.unflatten)(theta)
        outputs, seen = self.network.apply_in_training(weights, batch.x)
        nll = tf.reduce_mean(self.likelihood.nll(outputs, batch.y), -1)
        loss = nll - controls.kl_weight * log_prior / self.num_labels
        return {"loss": loss, "nll": nll, **self.likelihood.score(outputs, batch.y), **seen}
