"""The contract of every row of METHODS: it is reproducible and resumable, is traced once, and has no side effects."""

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from oracles import draws

from bnn_hvd import registry, seeds
from bnn_hvd.config import compose
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.data.pipeline import Batch, Examples, Shard
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.vi import ESTIMATORS
from bnn_hvd.models.build import build_network
from bnn_hvd.run import checkpoint
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.targets import Classes
from bnn_hvd.training.loop import compile_loop
from bnn_hvd.training.plan import Plan

# laplace does not train: it has tests of its own.
CASES = [
    (method, e)
    for method in registry.METHODS
    if method != "laplace"
    for e in (ESTIMATORS if method == "vi" else ("flipout",))
]
NUM_TRAIN, CLASSES = 50, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.integers(256, size=[NUM_TRAIN, 6, 5, 1], dtype=np.uint8)
Y = RANDOM.integers(CLASSES, size=NUM_TRAIN).astype(np.int32)
POPULATIONS = CHOICES["method"].names_with("needs_particles")
CONFIG = compose(
    architecture="conv",
    bayesian_layers="all",
    bayesian_biases=True,
    batch_size=8,
    steps=60,
    checkpoint_every_steps=0,
    seed=3,
)
CHANGES: dict[str, dict[str, Any]] = {
    method: {"swag_rank": 3, "swag_start_steps": 1, "swag_every_steps": 1} for method in ("swag", "multiswag")
} | {
    "hmc": {"hmc_burn_in_steps": 2, "hmc_kept_draws": 3, "hmc_leapfrog_steps": 5, "hmc_step_size": 0.002}
}  # flags of a method's own
SCALARS = 20  # a tensor with more numbers than that does not hold the loss and other scalars
RATES = {"ivon": 0.1}  # learning rates that lower the loss in 60 steps, for methods where 0.01 does not

pytestmark = pytest.mark.parametrize(("name", "estimator"), CASES)


class Training:
    """A method on a small network with a convolution and a dense layer, in the loop that `train` compiles."""

    def __init__(self, name: str, estimator: str, init: int = 0, **changes):
        particles = 2 if name in POPULATIONS else 0
        flags = {"method": name, "num_particles": particles, "estimator": estimator} | CHANGES.get(name, {}) | changes
        self.config = CONFIG.replace(**flags)
        self.network = build_network(self.config, X.shape[1:], Classes(CLASSES))
        self.method = build_method(self.config, self.network, Classes(CLASSES), NUM_TRAIN, Solo())
        self.state = self.method.init(seeds.seed(init, "init"))
        self.plan, self.progress, self.traced = Plan(self.config, NUM_TRAIN, 0, 1), Progress(), 0
        step = self.method.step

        def counting_step(*arguments):
            self.traced += 1
            return step(*arguments)

        standardizer = Standardizer(np.float32(128), np.float32(1 / 64))
        examples = Shard(X, Y, standardizer, slice(None)) if self.plan.full_batch else Examples(X, Y, standardizer)
        self.loop = compile_loop(counting_step, self.state, examples, self.plan.batch_shape, Solo())
        self.initial = [variable.numpy() for variable in self.state.variables]

    def begin_again(self, seed: int = CONFIG.run.seed) -> "Training":
        """Go back to the first step of a run with this seed; the compiled loop remains, as it takes seeds as inputs."""
        for variable, value in zip(self.state.variables, self.initial, strict=True):
            variable.assign(value)
        self.plan = Plan(self.config.replace(seed=seed), NUM_TRAIN, 0, 1)
        self.progress = Progress()
        return self

    def run(self, steps: int, most_steps: int = 100) -> dict[str, np.ndarray]:
        """Take `steps` more steps; returns the scalars of each."""
        rows, end = [], self.progress.step + steps
        while self.progress.step < end:
            call = self.plan.next_call(self.progress, min(most_steps, end - self.progress.step))
            rows.append(self.loop(call))
            self.progress = self.plan.advance(self.progress, call.steps)
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def bits(self) -> dict[str, bytes]:
        return {variable.name: variable.numpy().tobytes() for variable in self.state.variables}

    def draw(self, *indices: int) -> np.ndarray:
        return self.method.draw(self.state, draws(indices, root=3))(tf.constant(X[:7], tf.float32) / 255).numpy()


class Counting(Solo):
    """One of two ranks: it receives its own numbers only, and counts those that it sends in large tensors."""

    size, sent = 2, 0

    def mean(self, tensors, name):
        self.sent += sum(size for size in (tensor.shape.num_elements() for tensor in tensors) if size > SCALARS)
        return list(tensors)

    sum = mean


@functools.cache
def compiled(name: str, estimator: str, optimizer: str) -> Training:
    return Training(name, estimator, optimizer=optimizer)


def begun(name: str, estimator: str, optimizer: str = "adam") -> Training:
    """Return the training that all tests share, before its first step: compiling takes longer than training."""
    return compiled(name, estimator, optimizer).begin_again()


def trained(name: str, estimator: str) -> Training:
    """Return the shared training after 5 steps, for tests that do not train."""
    training = begun(name, estimator)
    training.run(5)
    return training


def test_the_initial_state_is_a_function_of_the_seed(name, estimator):
    first, again, other = (Training(name, estimator, init) for init in (0, 0, 1))
    assert first.bits() == again.bits() != other.bits()


def test_the_same_seed_gives_the_same_bits(name, estimator):
    """The bits do not depend on how the steps are split into calls; another seed gives others."""
    training = begun(name, estimator)
    history, bits, params = training.run(20), training.bits(), training.state.params.numpy()
    same_history = training.begin_again().run(20, most_steps=3)
    assert training.bits() == bits
    for scalar, values in history.items():
        np.testing.assert_array_equal(values, same_history[scalar])
    training.begin_again(seed=4).run(20)
    assert not np.array_equal(training.state.params, params)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_ends_bit_for_bit(name, estimator, optimizer, tmp_path):
    """If the checkpoint lacked a step counter or an accumulator, the first step after it would differ."""
    first = begun(name, estimator, optimizer)
    first.run(18)
    whole = first.bits()
    first.begin_again().run(9)
    checkpoint.save(tmp_path, checkpoint.arrays_of(first.state), first.progress, keep=1)
    second = Training(name, estimator, init=7, optimizer=optimizer)
    found = checkpoint.read_newest_good(tmp_path)
    checkpoint.restore(found, second.state)
    second.progress = checkpoint.read_progress(found)
    assert second.bits() == first.bits()
    assert second.progress == first.progress
    second.run(9)
    assert second.bits() == whole


def test_a_step_is_traced_once(name, estimator):
    training = begun(name, estimator)
    training.run(1)
    traced = training.traced
    training.run(30, most_steps=4)
    assert training.traced == traced


def test_a_step_changes_the_state_and_nothing_else(name, estimator):
    training, another = Training(name, estimator), begun(name, estimator)
    other_state = training.method.init(seeds.seed(5, "init"))
    other_bits = [variable.numpy().tobytes() for variable in other_state.variables]
    attributes = dict(vars(training.method))
    before, start = training.bits(), tf.random.get_global_generator().state.numpy()
    training.run(3)
    after = training.bits()
    assert all(after[name] != before[name] for name in after)  # every variable changes
    assert dict(vars(training.method)) == attributes
    assert [variable.numpy().tobytes() for variable in other_state.variables] == other_bits
    np.testing.assert_array_equal(tf.random.get_global_generator().state, start)
    another.run(3)
    assert another.bits() == after  # method objects keep nothing of any step


def test_the_scalars_of_a_step_are_finite_and_the_loss_falls(name, estimator):
    """A network of 1,600 weights can learn 50 examples by heart. The first 10 and the last 20 steps are compared."""
    training = Training(name, estimator, learning_rate=RATES.get(name, 0.01), kl_weight=0.0)
    history = training.run(60)
    assert {"loss", "nll", "loss_here"} <= set(history)
    for values in history.values():
        assert np.isfinite(values).all()
        assert len(values) == 60
    assert history["nll"][-20:].mean() < 0.8 * history["nll"][:10].mean()


def test_draws_are_finite_and_differ_by_seed(name, estimator):
    training = trained(name, estimator)
    logits_SNC = training.draw(0, 1, 2)
    distinct = min(training.method.num_draws(3), 3)
    assert logits_SNC.shape == (3 if distinct > 1 else 1, 7, CLASSES)
    assert np.isfinite(logits_SNC).all()
    for a, b in itertools.combinations(logits_SNC[:distinct], 2):
        assert np.abs(a - b).max() > 1e-3


def test_a_draw_is_the_same_whatever_draws_are_beside_it(name, estimator):
    """A prediction therefore depends neither on the draws per pass nor on the number of ranks."""
    training = trained(name, estimator)
    together = training.draw(0, 1, 2, 3)
    for position in range(len(together)):
        np.testing.assert_allclose(training.draw(position)[0], together[position], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(training.draw(3, 1)[0], together[-1], rtol=1e-5, atol=1e-6)


def test_a_draw_changes_nothing(name, estimator):
    training = trained(name, estimator)
    before = training.bits()
    training.draw(0, 1)
    training.method.marginals(training.state)
    assert training.bits() == before


def test_marginals_are_of_every_weight(name, estimator):
    training = trained(name, estimator)
    loc_P, scale_B = training.method.marginals(training.state)
    assert loc_P.shape[-1] == training.network.num_parameters
    assert scale_B.shape[-1] in (0, training.network.num_bayesian, training.network.num_parameters)
    assert set(training.network.slices(loc_P)) == {p.name for p in training.network.parameters}
    assert np.all(scale_B > 0)


def test_a_step_sends_as_many_numbers_as_it_says(name, estimator):
    """`num_reduced` is the number of each member; --dry_run and the predictions of `scale` use it."""
    training, ranks = Training(name, estimator), Counting()
    method = build_method(training.config, training.network, Classes(CLASSES), NUM_TRAIN, ranks)
    call = training.plan.next_call(Progress(), 1)
    members = max(1, training.config.method.num_particles)
    controls = Controls(*(tf.constant(part[0]) for part in call[1:6]))
    x = (tf.cast(X[:8], tf.float32) - 128) / 64
    method.step(method.init(seeds.seed(0, "init")), Batch(x, tf.constant(Y[:8])), controls)
    assert ranks.sent == members * method.num_reduced()


def test_a_batch_of_one_example_can_be_trained_on(name, estimator):
    training = Training(name, estimator, batch_size=1)
    assert np.isfinite(training.run(3)["loss"]).all()


def test_a_step_is_the_same_in_a_graph_and_outside(name, estimator):
    graph, eager = begun(name, estimator), Training(name, estimator)
    graph.run(1)
    call = eager.plan.next_call(Progress(), 1)
    index = np.arange(NUM_TRAIN) if eager.plan.full_batch else call.examples[0]
    x = (tf.cast(tf.gather(X, index), tf.float32) - 128) / 64
    controls = Controls(*(tf.constant(part[0]) for part in call[1:6]))
    eager.method.step(eager.state, Batch(x, tf.gather(Y, index)), controls)
    np.testing.assert_allclose(eager.state.params, graph.state.params, rtol=1e-4, atol=1e-5)
