"""The step of vi on losses whose best scales have a closed form."""

import numpy as np
import pytest
import tensorflow as tf

from bnn_hvd.config.schedule import ScheduleConfig
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.mean_field_step import REFERENCE_SCALE, MeanFieldStep
from bnn_hvd.inference.method import State
from bnn_hvd.training import schedules
from bnn_hvd.training.schedules import Place

NUM_TRAIN, PRIOR, INIT = 50, 0.8, 0.01
CURVATURE = np.array([0.0, 1.0, 300.0, 1e5])  # of the log likelihood of all examples
BEST = 1 / np.sqrt(CURVATURE + 1 / PRIOR**2)  # the scales at which the ELBO of a quadratic log likelihood is largest
B, REST = len(CURVATURE), 3


def make(name: str = "adam", members: int = 0):
    rule = MeanFieldStep(optimizers.rule(ScheduleConfig(optimizer=name)), B, NUM_TRAIN, INIT, PRIOR, {})
    start = np.concatenate([np.full(B, np.log(INIT)), np.linspace(-1, 1, B), np.ones(REST)]).astype(np.float32)
    return rule, State(tf.constant(np.broadcast_to(start, [members, *start.shape]) if members else start), rule)


def controls(rate: float = 0.0, ceiling: float = 1.0, learning_rate: float = 0.0, kl_weight: float = 1.0) -> Controls:
    seed = tf.zeros([2], tf.int64)
    return Controls(seed, *(tf.constant(value) for value in (learning_rate, kl_weight, rate, ceiling)))


def gradient(params: tf.Tensor, kl_weight: float = 1.0) -> tf.Tensor:
    """Return the exact gradient of the loss per example of the quadratic log likelihood; 0 but for the scales."""
    square = tf.exp(2 * params[..., :B])
    to_log_scale = (CURVATURE * square + kl_weight * (square / PRIOR**2 - 1)) / NUM_TRAIN
    zeros = tf.zeros_like(square)
    return tf.concat([to_log_scale, zeros, zeros[..., :REST]], -1)


def scales(state: State) -> np.ndarray:
    return np.exp(state.params[..., :B].numpy())


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("steps", [400, 2000])
def test_the_scales_arrive_in_any_number_of_steps(name, steps):
    """They start 80 times too narrow or 3 times too wide. Adam, at a learning rate of 0.002, would need 2,200 steps."""
    rule, state = make(name)
    for step in range(steps):
        place = Place(step / steps, step / steps, 1 / steps)
        schedule = controls(schedules.scale_rate(place), schedules.scale_ceiling(place))
        rule.apply(state.params, state.slots, gradient(state.params), schedule, tf.constant(step))
    np.testing.assert_allclose(scales(state), BEST, rtol=0.05)


def test_a_tempered_loss_has_tempered_scales():
    rule, state = make()
    for step in range(400):
        schedule = controls(0.1, kl_weight=0.25)
        rule.apply(state.params, state.slots, gradient(state.params, 0.25), schedule, tf.constant(step))
    np.testing.assert_allclose(scales(state), 1 / np.sqrt(CURVATURE / 0.25 + 1 / PRIOR**2), rtol=1e-3)


def test_no_scale_grows_beyond_the_ceiling_and_none_is_pulled_down_to_it():
    rule, state = make()
    wide = np.log(0.5)
    params = state.params.numpy()
    params[0] = wide
    state.params.assign(params)
    for step in range(150):
        rule.apply(state.params, state.slots, gradient(state.params), controls(0.1, 0.5), tf.constant(step))
    ceiling = np.sqrt(INIT * PRIOR)  # half of the way, in logarithms
    assert scales(state)[0] >= 0.5
    np.testing.assert_allclose(scales(state)[1:], np.minimum(BEST[1:], ceiling), rtol=0.02)


@pytest.mark.parametrize("u", [-1e3, -0.1, 0.1, 1e3])
def test_no_gradient_is_too_large(u):
    rule, state = make()
    noisy = tf.concat([tf.fill([B], u), tf.zeros([B + REST])], 0)
    rule.apply(state.params, state.slots, noisy, controls(0.1), tf.constant(0))
    assert np.isfinite(scales(state)).all()
    assert ((scales(state) > INIT) == (u == -0.1)).all()  # a gradient of -1e3 is noise: the scale must not explode


def test_the_means_move_by_the_rule_in_proportion_to_their_scale_and_the_other_weights_by_the_rule():
    rule, state = make()
    values = tf.constant(np.random.default_rng(0).normal(size=2 * B + REST), tf.float32)
    before = state.params.numpy()
    rule.apply(state.params, state.slots, values, controls(learning_rate=0.1), tf.constant(0))
    change = state.params.numpy() - before
    first = -0.1 * np.sign(values)  # Adam's first step
    np.testing.assert_allclose(change[B : 2 * B], first[B : 2 * B] * (1 + INIT / REFERENCE_SCALE), rtol=1e-4)
    np.testing.assert_array_equal(change[:B], 0)
    np.testing.assert_allclose(change[2 * B :], first[2 * B :], rtol=1e-4)


def test_members_step_as_each_alone():
    rule, both = make(members=2)
    _, alone = make()
    values = np.random.default_rng(1).normal(size=[2, 2 * B + REST]).astype(np.float32)
    schedule = controls(0.05, 0.3, 0.01)
    rule.apply(both.params, both.slots, tf.constant(values), schedule, tf.constant(0))
    rule.apply(alone.params, alone.slots, tf.constant(values[1]), schedule, tf.constant(0))
    np.testing.assert_allclose(both.params[1], alone.params, rtol=1e-6)
