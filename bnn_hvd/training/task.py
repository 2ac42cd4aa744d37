"""What a run trains: the data, the plan, the method and its state."""

import dataclasses
import socket

import numpy as np

from bnn_hvd import seeds
from bnn_hvd.config import TrainConfig
from bnn_hvd.config.data import DataConfig
from bnn_hvd.data import standardize
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.description import Description
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.data.stored import Inputs
from bnn_hvd.distributed import cluster
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError
from bnn_hvd.inference import checksums
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.checksums import Step
from bnn_hvd.inference.method import Method, State
from bnn_hvd.models.build import build_network
from bnn_hvd.run import rundir
from bnn_hvd.training.plan import Plan
from bnn_hvd.training.population import Population


@dataclasses.dataclass(frozen=True)
class Task:
    """What a rank trains. All ranks have the same task, except that each has its own particles.

    Attributes:
      description: of `arrays`.
      state: the initial or the restored state; training changes it, and nothing else here.
      threads: of this rank.
    """

    config: TrainConfig
    arrays: Arrays
    description: Description
    plan: Plan
    population: Population
    method: Method
    step: Step
    state: State
    threads: int

    @property
    def ranks(self) -> Cluster:
        """All ranks; `population.cluster` are those that train the same particles as this one."""
        return self.population.ranks


def prepare(config: TrainConfig, arrays: Arrays, ranks: Cluster, threads: int) -> Task:
    """Return what this rank trains, before the next step: the first one, or the one after the newest checkpoint.

    Raises:
      UserError: the flags do not fit the data, the ranks or the run directory, or the data are not those of the run.
    """
    target = arrays.target(config.data.standardize_targets)
    description = Description.of(arrays, target, fit_standardizer(arrays.x_train, config.data, ranks))
    check_same_data(config, description, ranks)
    population = Population(config, ranks)
    mine = population.cluster
    plan = Plan(config, len(arrays.x_train), mine.rank, mine.size, population.members, target.labels_per_example)
    network = build_network(config, arrays.x_train.shape[1:], target)
    method = build_method(config, network, target, plan.num_train, mine, population.members)
    method.check_length(plan.total_steps)
    state = method.init(seeds.seed(config.run.root_seed("init"), "init"))
    checksums.flip_bit(state, config, network)
    step = checksums.with_checksums(method, config)
    population.restore(state)
    return Task(config, arrays, description, plan, population, method, step, state, threads)


def fit_standardizer(x_train: Inputs, config: DataConfig, ranks: Cluster) -> Standardizer:
    """Return the standardisation of the training part; inputs in files are read for it by rank 0 alone.

    Raises:
      UserError: such inputs are NaN or infinite.
    """
    if isinstance(x_train, np.ndarray):
        return standardize.fit(x_train, config.standardize)
    fitted: list[Standardizer] = []

    def fit() -> None:
        fitted.append(standardize.fit(x_train, config.standardize))
        if not np.isfinite(fitted[0].mean).all():
            raise UserError(f"{config.data_dir}: x_train is NaN or infinite: remove or replace such values")

    cluster.on_root(ranks, fit)
    return Standardizer.from_dict(ranks.broadcast(fitted[0].to_dict() if ranks.is_root else None))


def check_same_data(config: TrainConfig, description: Description, ranks: Cluster) -> None:
    """Raise UserError unless all ranks have the same data, those that the run has been trained on so far."""
    fingerprint = description.fingerprint._asdict()
    facts = {f"a {part} part with the fingerprint": digest for part, digest in fingerprint.items()}
    cluster.check_agreement(ranks, facts, socket.gethostname(), "give all ranks the same --data_dir")
    source = config.data.data_dir or config.data.dataset
    cluster.on_root(ranks, lambda: rundir.check_same_data(config.folder, fingerprint, source))
