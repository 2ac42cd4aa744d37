"""The prediction of an epoch of particles, or of chains, on more ranks than were measured."""

import dataclasses
from collections.abc import Sequence

from bnn_hvd.studies.scaling.collect import Run
from bnn_hvd.studies.scaling.model import Link
from bnn_hvd.studies.scaling.predict import communication_ms, doubled, line


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A number of particles on a number of ranks, one on each node."""

    model: str
    particles: int
    ranks: int
    compute_ms: float
    communication_ms: float
    step_ms: float
    epoch_s: float  # of all particles
    efficiency: float  # against the fewest ranks predicted


def predict(runs: Sequence[Run], link: Link) -> list[Prediction]:
    """Return the predictions for each number of particles, on 1, 2, 4, ... times the most ranks measured.

    Only numbers of ranks that share the particles equally, each with some of the data.
    """
    fixed_ms, each_ms = line([(share(run, run.ranks), time) for run in runs for time in run.compute_ms])
    result = []
    for run in {run.num_particles: run for run in sorted(runs, key=lambda run: run.ranks)}.values():
        mine = [
            _prediction(run, ranks, fixed_ms + each_ms * share(run, ranks), link)
            for ranks in doubled(max(run.ranks for run in runs)) if _possible(run, ranks)
        ]  # fmt: skip
        result += [
            dataclasses.replace(one, efficiency=mine[0].epoch_s * mine[0].ranks / (one.epoch_s * one.ranks))
            for one in mine
        ]
    return sorted(result, key=lambda one: (one.particles, one.ranks))


def share(run: Run, ranks: int) -> float:
    """Return what a rank computes in a step, in units of a particle on a batch, or of a chain on all data."""
    return run.num_particles / ranks if run.rank_groups else max(1.0, run.num_particles / ranks)


def together(run: Run, ranks: int) -> int:
    """Return how many ranks reduce one gradient: those of a particle, or of a group of chains."""
    return ranks // run.rank_groups if run.rank_groups else max(1, ranks // run.num_particles)


def _possible(run: Run, ranks: int) -> bool:
    if run.rank_groups:
        return ranks % run.rank_groups == 0 and ranks <= run.num_train
    shared = run.num_particles % ranks == 0 or ranks % run.num_particles == 0
    return shared and together(run, ranks) * run.batch_size <= run.num_train


def _prediction(run: Run, ranks: int, compute_ms: float, link: Link) -> Prediction:
    group = together(run, ranks)
    reduced_ms = communication_ms(group, run.reduced_bytes_per_step, run.allreduces_per_step, link)
    steps = 1 if run.rank_groups else run.num_train // (run.batch_size * group)
    step_ms = compute_ms + reduced_ms
    return Prediction(run.model, run.num_particles, ranks, compute_ms, reduced_ms, step_ms, 1e-3 * steps * step_ms, 1.0)
