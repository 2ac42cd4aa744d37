"""From the flags to a method."""

from typing import Any

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import checksums, likelihoods
from bnn_hvd.inference.ensemble import Ensemble
from bnn_hvd.models.network import Network
from bnn_hvd.targets import Units


def build(
    config: TrainConfig,
    network: Network,
    num_train: int,
    cluster: Cluster,
    members: range | None = None,
    units: Units | None = None,
) -> Any:
    """Return the method that the flags name, for some of its members (default: all, if it has members).

    units: of real targets.
    """
    likelihood = likelihoods.make(config, network.num_classes, units or Units(), network.num_items)
    method = registry.load(registry.METHODS, config.method)(network, likelihood, num_train, cluster, config)
    watch = checksums.watch(method, config)
    if config.num_particles:
        method = Ensemble(method, range(config.num_particles) if members is None else members)
    return checksums.Watched(method, watch) if config.checksums else method
