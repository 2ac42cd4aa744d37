"""SWAG: its moments against numpy's of the recorded iterates, its draws against the mean and covariance of those."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import RARE, covariance_z_scores, draws, z_scores

from bnn_hvd import seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.likelihoods import Categorical
from bnn_hvd.inference.method import State
from bnn_hvd.inference.swag import Swag, collection
from bnn_hvd.models.build import build_network
from bnn_hvd.models.network import Network
from bnn_hvd.targets import Classes

RANDOM = np.random.default_rng(0)
X, Y = tf.constant(RANDOM.normal(size=[30, 2]), tf.float32), tf.constant(RANDOM.integers(3, size=30), tf.int32)
RANK, START, EVERY = 4, 5, 3


def make() -> Swag:
    network = Network(lambda net, x: net.dense("only", x, 3), (2,), 3)
    flags = {"swag_rank": RANK, "swag_start_steps": START, "swag_every_steps": EVERY}
    return Swag(network, Categorical(), 30, Solo(), compose(method="swag", optimizer="sgd", **flags))


def run(method, state, steps: int) -> np.ndarray:
    """Return theta after each step, [T, ..., P], in float64."""

    @tf.function
    def step(t):
        members = len(state.params.shape) == 2
        index = t * 7 % 25
        seed = tf.zeros([2, 2] if members else [2], tf.int64)
        return method.step(state, Batch(X[index : index + 5], Y[index : index + 5]), Controls(seed, 0.3, 1.0))

    rows = []
    for t in range(steps):
        step(tf.constant(t))
        rows.append(state.params.numpy().astype(np.float64))
    assert step.experimental_get_tracing_count() == 1
    return np.array(rows)


def recorded(theta_TP: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, covariance and the collected iterates, by algorithm 1 of Maddox et al. (2019)."""
    taken = theta_TP[START - 1 :: EVERY]
    deviations = np.array([one - taken[: i + 1].mean(0) for i, one in enumerate(taken)])[-RANK:]
    covariance = np.diag(taken.var(0)) / 2 + deviations.T @ deviations / (2 * max(len(deviations) - 1, 1))
    return taken.mean(0), covariance, taken


@pytest.mark.parametrize("steps", [5, 7, 14, 40], ids=["one", "still one", "a full ring", "three rings"])
def test_the_moments_are_those_of_the_iterates(steps):
    method = make()
    state = method.init(seeds.seed(0, "init"))
    mean, covariance, taken = recorded(run(method, state, steps))
    assert state.slots["swag_count"].numpy() == len(taken)
    np.testing.assert_allclose(state.slots["swag_mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.slots["swag_variance"], taken.var(0), rtol=1e-3, atol=1e-9)
    loc, scale = method.marginals(state)
    np.testing.assert_allclose(loc, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scale, np.sqrt(np.diag(covariance)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("member", [None, 1], ids=["alone", "a member"])
def test_draws_have_the_recorded_mean_and_covariance(member):
    """The logits at a unit input are the weights of that input plus the bias."""
    method, count = make(), 4000
    seed = seeds.seed(0, "init")
    state = method.init(seed if member is None else np.stack([seed, seed + 1]))
    theta = run(method, state, 40)
    mean, covariance, _ = recorded(theta if member is None else theta[:, member])
    asked = draws(range(count))
    source = state if member is None else Swag.picked(None, state, tf.fill([count], member), None)
    x = tf.constant([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    values = method.draw(source, asked)(x).numpy().reshape(count, 9).astype(np.float64)
    rows = {p.name: i for p, i in zip(method.network.parameters, range(9), strict=False)}
    assert rows == {"only/kernel": 0, "only/bias": 1}
    kernel, bias = np.split(np.eye(9), [6])
    linear = np.concatenate([bias, kernel[:3] + bias, kernel[3:] + bias])  # from theta to the logits
    assert np.abs(z_scores(values, linear @ mean)).max() < RARE
    z = covariance_z_scores(values, linear @ mean, linear @ covariance @ linear.T)
    assert np.abs(z).max() < RARE


def test_before_anything_is_collected_a_draw_is_the_network_as_it_stands():
    method = make()
    state = method.init(seeds.seed(0, "init"))
    run(method, state, START - 1)
    expected = method.network.apply(method.network.unflatten(tf.convert_to_tensor(state.params)), X)
    for logits in method.draw(state, draws([0, 1]))(X):
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert len(method.marginals(state)[1]) == 0


@pytest.mark.parametrize(
    ("flags", "steps", "collected"),
    [({"epochs": 1}, 10, 1), ({"epochs": 9, "swag_start_steps": 99}, 90, 0), ({"epochs": 2}, 20, 2)],
    ids=["one epoch", "a start beyond the end", "two epochs"],
)
@pytest.mark.parametrize("members", [0, 2])
def test_a_training_too_short_for_a_variance_is_refused(flags, steps, collected, members):
    config = compose(method="swag", architecture="linear", batch_size=10, num_particles=members, **flags)
    method = build_method(config, build_network(config, (2,), Classes(3)), Classes(3), 100, Solo())
    if collected >= 2:
        method.check_length(steps)
        return
    with pytest.raises(UserError, match=f"swag would collect {collected} iterates of {steps} steps"):
        method.check_length(steps)


def test_by_default_the_second_half_is_collected_once_per_epoch():
    assert collection(compose(method="swag", epochs=10, batch_size=10), 105, ranks=2) == (25, 5)
    assert collection(compose(method="swag", steps=100, batch_size=10), 105, ranks=1) == (50, 10)
    assert collection(compose(method="swag", epochs=10, swag_start_steps=7, swag_every_steps=2), 1000, ranks=1) == (
        7,
        2,
    )


def test_the_drift_tells_a_line_from_a_walk_and_from_noise():
    """Closed forms for many weights: 3 (n - 1) / (n + 1) along a line, about 2 of a random walk, 1 of independent ones.

    With 20,000 weights and 40 iterates the standard error is below 0.02.
    """
    random = np.random.default_rng(0)
    noise_NP = random.normal(size=[40, 20_000]).astype(np.float32)
    line_NP = np.arange(40, dtype=np.float32)[:, None] * noise_NP[:1]
    for iterates_NP, expected in ((noise_NP, 1.0), (noise_NP.cumsum(0), 2.0), (line_NP, 3 * 39 / 41)):
        assert drift_of(iterates_NP) == pytest.approx(expected, abs=0.1)


def drift_of(iterates_NP: np.ndarray) -> float:
    """Return the drift of a swag that has collected these iterates."""
    method = Swag.__new__(Swag)
    method.rank = 3
    state = State(tf.zeros([iterates_NP.shape[1]]))
    state.slots |= {
        "swag_count": tf.Variable(0.0), "swag_mean": tf.Variable(tf.zeros_like(state.params)),
        "swag_variance": tf.Variable(tf.zeros_like(state.params)),
        "swag_deviations": tf.Variable(tf.zeros([3, *state.params.shape])),
    }  # fmt: skip
    for theta in iterates_NP:
        state.params.assign(theta)
        method._collect(state)
        assert ("moments_drift" in method.signs_of_convergence(state)) == (state.slots["swag_count"] >= 2)
    return method.signs_of_convergence(state)["moments_drift"]
