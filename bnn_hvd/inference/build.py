"""From the flags to a method."""

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError
from bnn_hvd.inference import likelihoods
from bnn_hvd.inference.ensemble import Ensemble
from bnn_hvd.inference.method import Method
from bnn_hvd.models.network import Network
from bnn_hvd.targets import Target


def build_method(
    config: TrainConfig,
    network: Network,
    target: Target,
    num_train: int,
    cluster: Cluster,
    members: range | None = None,
) -> Method:
    """Return the method that the flags name.

    members: those that it trains (default: all --num_particles of them, if that is set).

    Raises:
      UserError: the network has batch norms, and the method can't have them.
    """
    if network.initial_statistics.size and not config.method.options.takes_batch_norm:
        raise UserError(
            f"--architecture={config.network.architecture} has batch norms, which are for "
            f"{', '.join(CHOICES['method'].names_with('takes_batch_norm'))}, not for {config.method.name}, whose draws "
            "would each need statistics of their own: take another normalisation"
        )
    if network.initial_statistics.size and config.machine.compression != "none":
        raise UserError("batch norms have variances that --compression=fp16 would overflow: leave it out")
    likelihood = likelihoods.make(config.data, target)
    method = registry.load(registry.METHODS, config.method.name)(network, likelihood, num_train, cluster, config)
    if not config.method.num_particles:
        return method
    return Ensemble(method, range(config.method.num_particles) if members is None else members)
