"""What a run trains: the data, the plan, the method and its state."""

import dataclasses

from bnn_hvd import seeds
from bnn_hvd.config import TrainConfig
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference import checksums
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.checksums import Step
from bnn_hvd.inference.method import Method, State
from bnn_hvd.models.network import build_network
from bnn_hvd.targets import Target
from bnn_hvd.training.plan import Plan
from bnn_hvd.training.population import Population


@dataclasses.dataclass(frozen=True)
class Task:
    """What a rank trains. All ranks have the same task, except that each has its own particles.

    Attributes:
      state: the initial or the restored state; training changes it, and nothing else here.
      threads: of this rank.
    """

    config: TrainConfig
    arrays: Arrays
    target: Target
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
    """Return what this rank trains, before the first step.

    Raises:
      UserError: the flags do not fit the data, the ranks or the run directory.
    """
    population = Population(config, ranks)
    cluster = population.cluster
    plan = Plan(config, len(arrays.x_train), cluster.rank, cluster.size)
    target = arrays.target(config.data.standardize_targets)
    network = build_network(config, arrays.x_train.shape[1:], target)
    method = build_method(config, network, target, plan.num_train, cluster, population.members)
    state = method.init(seeds.seed(config.run.root_seed("init"), "init"))
    checksums.flip_bit(state, config, network)
    step = checksums.with_checksums(method, config)
    return Task(config, arrays, target, plan, population, method, step, state, threads)
