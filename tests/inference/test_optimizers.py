"""Update rules against their papers, in float64 numpy, and against Keras."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from bnn_hvd.config.schedule import ScheduleConfig
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.method import State

STEPS, SIZE = 50, 20
RANDOM = np.random.default_rng(0)
START = RANDOM.normal(size=SIZE)
GRADIENTS = RANDOM.normal(size=[STEPS, SIZE]) * np.logspace(-4, 2, SIZE)  # from 1e-4 to 100
RATES = 0.01 * np.linspace(1, 3, STEPS)  # they grow, as in a warm-up


def controls(rate: tf.Tensor) -> Controls:
    return Controls(tf.zeros([2], tf.int64), rate, tf.constant(1.0))


def ours(name: str, momentum: float) -> tuple[np.ndarray, State]:
    optimizer = optimizers.make(ScheduleConfig(optimizer=name, momentum=momentum), num_noise_scales=0)
    state = State(tf.constant(START, tf.float32), optimizer)

    @tf.function
    def step(gradient, rate):
        optimizer.apply(state.params, state.slots, gradient, controls(rate), state.step)
        state.step.assign_add(1)

    path = []
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        step(tf.constant(gradient, tf.float32), tf.constant(rate, tf.float32))
        path.append(state.params.numpy())
    return np.array(path), state


def adam() -> np.ndarray:
    """Return theta after each step of Adam, with epsilon outside the bias correction (Kingma & Ba 2015, section 2)."""
    theta, m, v, path = START.copy(), 0.0, 0.0, []
    for t, (g, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta - rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)
        path.append(theta)
    return np.array(path)


def sgd(momentum: float) -> np.ndarray:
    """Return theta after each step of heavy-ball SGD, with the learning rate inside the velocity, as in Keras."""
    theta, velocity, path = START.copy(), 0.0, []
    for g, rate in zip(GRADIENTS, RATES, strict=True):
        velocity = momentum * velocity - rate * g
        theta = theta + velocity
        path.append(theta)
    return np.array(path)


@pytest.mark.parametrize(
    ("name", "momentum", "expected"), [("adam", 0.9, adam()), ("sgd", 0.0, sgd(0.0)), ("sgd", 0.9, sgd(0.9))]
)
def test_fifty_steps_are_those_of_the_paper(name, momentum, expected):
    """Without the bias correction, or with the step counted from 1, the first steps differ by more than 40 %."""
    path, state = ours(name, momentum)
    np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)
    assert int(state.step) == STEPS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "momentum"), [("adam", 0.9), ("sgd", 0.0), ("sgd", 0.9)])
def test_fifty_steps_are_those_of_keras(name, momentum):
    import keras

    peer = keras.optimizers.Adam(epsilon=1e-8) if name == "adam" else keras.optimizers.SGD(momentum=momentum)
    params = keras.Variable(START, dtype="float32")
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        peer.learning_rate = rate
        peer.apply([tf.constant(gradient, tf.float32)], [params])
    np.testing.assert_allclose(ours(name, momentum)[0][-1], params.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "momentum"), [("adam", 0.9), ("sgd", 0.0), ("sgd", 0.9)])
def test_everything_that_a_rule_remembers_is_in_the_state(name, momentum):
    """A checkpoint contains the state. It tells variables apart by name, so their names must differ."""
    _, state = ours(name, momentum)
    count = {"adam": 2, "sgd": int(momentum > 0)}[name]
    names = [variable.name for variable in state.variables]
    assert len(set(names)) == len(names) == 2 + count
    assert {id(slot) for slot in state.slots.values()} <= {id(variable) for variable in state.variables}


@pytest.mark.parametrize(("name", "momentum"), [("adam", 0.9), ("sgd", 0.0), ("sgd", 0.9)])
def test_the_change_of_a_rule_is_what_apply_adds(name, momentum):
    rule = optimizers.rule(ScheduleConfig(optimizer=name, momentum=momentum))
    theta, slots = tf.constant(START, tf.float32), dict.fromkeys(rule.slot_names, tf.zeros([SIZE]))
    path = []
    for count, (gradient, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), start=1):
        change, slots = rule.change(
            slots, tf.constant(gradient, tf.float32), tf.constant(rate, tf.float32), tf.constant(float(count))
        )
        theta += change
        path.append(theta.numpy())
    np.testing.assert_allclose(path, ours(name, momentum)[0], rtol=1e-4, atol=1e-5)


def test_a_learning_rate_of_zero_changes_nothing():
    for name, num_noise_scales in itertools.product(("adam", "sgd"), (0, 1)):
        optimizer = optimizers.make(ScheduleConfig(optimizer=name), num_noise_scales)
        state = State(tf.constant(START, tf.float32), optimizer)
        optimizer.apply(state.params, state.slots, tf.ones([SIZE]), controls(tf.constant(0.0)), state.step)
        np.testing.assert_array_equal(state.params, START.astype(np.float32))


def noise_steps(name: str, start: float, residual: float, steps: int, num_noise_scales: int = 1) -> np.ndarray:
    """Return [T, M, P]: a parameter with the gradient 1, and the log scale of the noise with its exact gradient."""
    optimizer = optimizers.make(ScheduleConfig(optimizer=name), num_noise_scales)
    state, path = State(tf.constant([[3.0, start], [5.0, start]]), optimizer), []

    @tf.function
    def step():
        slope = 1 - (residual * tf.exp(-state.params[:, 1:])) ** 2  # of log s + residual^2 / (2 s^2)
        gradient = tf.concat([tf.ones_like(slope), slope], 1)
        optimizer.apply(state.params, state.slots, gradient, controls(tf.constant(0.01)), state.step)
        state.step.assign_add(1)

    for _ in range(steps):
        step()
        path.append(state.params.numpy())
    return np.array(path)


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize(("start", "residual"), [(0.0, 0.1), (0.0, 1e4), (0.0, 1.5)])
def test_the_scale_of_the_noise_arrives_and_the_others_step_as_without_it(name, start, residual):
    path_TMP = noise_steps(name, start, residual, 120)
    np.testing.assert_array_equal(path_TMP[..., 0], noise_steps(name, start, residual, 120, False)[..., 0])
    error_TM = path_TMP[..., 1] - np.log(residual)
    assert np.abs(error_TM[-1]).max() < 0.01
    late = (np.abs(error_TM) < 0.05) & (np.abs(error_TM) > 0.01)  # where the slope is linear in the error
    ratio = (error_TM[1:] / error_TM[:-1])[late[1:] & late[:-1]]
    np.testing.assert_allclose(ratio, 1 - optimizers.WithNoiseScale.RATE, atol=0.01)
