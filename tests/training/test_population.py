"""The state of all particles reaches the ranks that need it, whatever the layout, and nothing else is communicated."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import run_ranks

from bnn_hvd.config import compose
from bnn_hvd.data import shards
from bnn_hvd.inference.method import State
from bnn_hvd.inference.optimizers import Adam
from bnn_hvd.run import checkpoint, records
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.training.population import Population

SIZE, EXAMPLES = 4, 11
LOCAL, DRAWS = "hmc_local:0", "hmc_local_draws:0"
# Particles, ranks, flags: particles of their own, uneven ones, groups of ranks, and chains whose data are spread.
LAYOUTS = [
    (1, 1, {}), (4, 1, {}), (4, 2, {}), (5, 2, {"allow_uneven": True}), (7, 3, {"allow_uneven": True}), (2, 4, {}),
    (2, 3, {"chain_groups": 1}), (4, 4, {"chain_groups": 2}), (4, 4, {"chain_groups": 4}),
]  # fmt: skip
layouts = pytest.mark.parametrize(("particles", "size", "flags"), LAYOUTS)


def configured(folder, particles: int, **flags):
    method = "hmc" if "chain_groups" in flags else "ensemble"
    return compose(run=str(folder), method=method, num_particles=particles, steps=4, **flags)


def whole(particles: int, chains: bool) -> dict[str, np.ndarray]:
    """Return the variables of all particles and all examples, each with numbers of its own."""
    shapes = {"params:0": [particles, SIZE], "adam_mean:0": [particles, SIZE], "adam_square:0": [particles, SIZE]}
    if chains:
        shapes = {
            "params:0": [particles, SIZE],
            LOCAL: [particles, EXAMPLES, 2],
            DRAWS: [particles, 3, EXAMPLES, 2],
        }
    first = np.cumsum([0, *(np.prod(shape) for shape in shapes.values())])
    arrays = {
        name: np.arange(at, at + np.prod(shape), dtype=np.float32).reshape(shape)
        for at, (name, shape) in zip(first, shapes.items(), strict=False)
    }
    return arrays | {"step:0": np.array(3, np.int64)}


def empty_state(population: Population, chains: bool) -> State:
    count = len(population.members)
    state = State(tf.zeros([count, SIZE]), None if chains else Adam())
    if chains:
        mine = shards.shard(EXAMPLES, population.cluster.rank, population.cluster.size)
        here = mine.stop - mine.start
        state.slots["local"] = tf.Variable(tf.zeros([count, here, 2]), name="hmc_local")
        state.slots["local_draws"] = tf.Variable(tf.zeros([count, 3, here, 2]), name="hmc_local_draws")
        state.example_axis = {LOCAL: 1, DRAWS: 2}
    return state


class Counted:
    """A rank that counts the bytes of the arrays that it hands over to be gathered."""

    def __init__(self, ranks):
        self._ranks, self.sent = ranks, 0

    def __getattr__(self, name):
        return getattr(self._ranks, name)

    def gather_on_root(self, value):
        self.sent += 0 if value is None else value.nbytes
        return self._ranks.gather_on_root(value)


@layouts
def test_a_state_that_was_saved_is_restored_on_each_rank_and_gathered_again(tmp_path, particles, size, flags):
    chains = "chain_groups" in flags
    config, everything = configured(tmp_path, particles, **flags), whole(particles, chains)
    (tmp_path / records.CHECKPOINTS).mkdir()
    checkpoint.save(tmp_path / records.CHECKPOINTS, everything, Progress(step=3), keep=1)

    def on_rank(ranks):
        population = Population(config, counted := Counted(ranks))
        state = empty_state(population, chains)
        population.restore(state)
        mine = slice(population.members.start, population.members.stop)
        np.testing.assert_array_equal(state.params.numpy(), everything["params:0"][mine])
        drawn = population.gather_to_draw_from(state)
        return population.gather_on_root(state), drawn, counted.sent, population.progress.step

    for rank, (at_root, drawn, _, step) in enumerate(results := run_ranks(size, on_rank)):
        assert step == 3
        np.testing.assert_equal(drawn, {name: a for name, a in everything.items() if not name.startswith("adam")})
        np.testing.assert_equal(at_root, everything if rank == 0 else None)
    groups = flags.get("chain_groups", min(particles, size))
    local = sum(everything[name].nbytes for name in (LOCAL, DRAWS) if chains)
    shared = sum(a.nbytes for a in everything.values() if a.ndim) - local
    once = (shared if groups > 1 else 0) + (local if size > 1 or chains else 0)
    assert sum(sent for *_, sent, _ in results) == once


def test_a_rank_that_has_all_particles_evaluates_the_state_that_it_trains(tmp_path):
    (one,) = run_ranks(1, lambda ranks: Population(configured(tmp_path, 4), ranks))
    assert one.has_all(empty_state(one, chains=False))


@pytest.mark.parametrize("size", [1, 2])
def test_particles_that_are_added_leave_those_before_them_as_they_are(tmp_path, size):
    """The first two particles have finished; two more begin at step 0, and are interrupted at step 1."""
    everything = whole(4, chains=False)
    (tmp_path / records.CHECKPOINTS).mkdir()
    finished = {name: a[:2] if a.ndim else a for name, a in everything.items()}
    checkpoint.save(tmp_path / records.CHECKPOINTS, finished, Progress(step=4), keep=2)

    def begin(ranks):
        population = Population(configured(tmp_path, 4), ranks)
        state = empty_state(population, chains=False)
        population.restore(state)
        assert not state.params.numpy().any()
        for name, variable in {v.name: v for v in state.variables}.items():
            stored = everything[name]
            members = slice(population.members.start, population.members.stop)
            variable.assign(stored[members] if stored.ndim else stored)
        gathered = population.gather_on_root(state)
        if gathered is not None:
            checkpoint.save(tmp_path / records.CHECKPOINTS, gathered, Progress(step=1, first_member=2), keep=2)
        return population.gather_to_draw_from(state)["params:0"], gathered

    def go_on(ranks):
        population = Population(configured(tmp_path, 4), ranks)
        population.restore(state := empty_state(population, chains=False))
        return population.gather_to_draw_from(state)["params:0"], population.gather_on_root(state)

    for session in (begin, go_on):
        for rank, (params, at_root) in enumerate(run_ranks(size, session)):
            np.testing.assert_array_equal(params, everything["params:0"])
            np.testing.assert_equal(at_root, everything if rank == 0 else None)
