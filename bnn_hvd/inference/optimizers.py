"""Update rules on one flat parameter vector [P] or [M, P]: one fused kernel per step."""

from collections.abc import Mapping
from typing import Protocol

import tensorflow as tf

from bnn_hvd.config.schedule import ScheduleConfig
from bnn_hvd.inference.controls import Controls, Scalars


class Optimizer(Protocol):
    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        """Return the variables that the rule keeps per parameter, each in the shape of `params`."""

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, controls: Controls,
        step: tf.Tensor,
    ) -> Scalars:  # fmt: skip
        """Update `params` and `slots` by a gradient in the shape of `params`; `step` counts from 0.

        Returns scalars to log, of the gradient [] or [M].
        """


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with its published constants."""

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    slot_names: tuple[str, ...] = ("mean", "square")

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return {name: tf.Variable(tf.zeros_like(params), name=f"adam_{name}") for name in self.slot_names}

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, controls: Controls,
        step: tf.Tensor,
    ) -> Scalars:  # fmt: skip
        count = tf.cast(step + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=params.handle, m=slots["mean"].handle, v=slots["square"].handle,
            beta1_power=self.beta1**count, beta2_power=self.beta2**count,
            lr=controls.learning_rate, beta1=self.beta1, beta2=self.beta2, epsilon=self.epsilon, grad=gradient,
        )  # fmt: skip
        return {}

    def change(
        self, slots: Mapping[str, tf.Tensor], gradient: tf.Tensor, learning_rate: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return what `apply` adds to the parameters, and the new slots; `count` is the number of this step, from 1."""
        mean = slots["mean"] + (1.0 - self.beta1) * (gradient - slots["mean"])
        square = slots["square"] + (1.0 - self.beta2) * (gradient * gradient - slots["square"])
        size = learning_rate * tf.sqrt(1.0 - self.beta2**count) / (1.0 - self.beta1**count)
        return -size * mean / (tf.sqrt(square) + self.epsilon), {"mean": mean, "square": square}


class SGD(Optimizer):
    """Stochastic gradient descent with (heavy-ball) momentum."""

    def __init__(self, momentum: float):
        self.momentum = momentum
        self.slot_names: tuple[str, ...] = ("velocity",) if momentum else ()

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return {name: tf.Variable(tf.zeros_like(params), name=f"sgd_{name}") for name in self.slot_names}

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, controls: Controls,
        step: tf.Tensor,
    ) -> Scalars:  # fmt: skip
        if not self.momentum:
            params.assign_sub(controls.learning_rate * gradient)
            return {}
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=params.handle, accum=slots["velocity"].handle, lr=controls.learning_rate, grad=gradient,
            momentum=self.momentum,
        )  # fmt: skip
        return {}

    def change(
        self, slots: Mapping[str, tf.Tensor], gradient: tf.Tensor, learning_rate: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """As `Adam.change`."""
        step = -learning_rate * gradient
        if not self.momentum:
            return step, {}
        velocity = self.momentum * slots["velocity"] + step
        return velocity, {"velocity": velocity}


class WithNoiseScale(Optimizer):
    """`base` for all parameters but the last `count`, log scales of a Gaussian's noise, which make natural-gradient
    steps.

    log s -= RATE / 2 * gradient: the Fisher information of log s is 2 per example, for all data (Amari 1998). With an
    exact gradient, log s comes closer to log(root mean square of the residuals) by the factor 1 - RATE in each step,
    where Adam would move it by the learning rate. In batches of B its own standard deviation is sqrt(RATE / (4 B)).
    """

    RATE, MOST = 0.1, 0.5  # the second: of one step; a scale far below the residuals has a very large gradient

    def __init__(self, base: Optimizer, count: int):
        self.base, self.count = base, count

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return self.base.slots(params)

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, controls: Controls,
        step: tf.Tensor,
    ) -> Scalars:  # fmt: skip
        size = tf.clip_by_value(self.RATE / 2 * gradient[..., -self.count :], -self.MOST, self.MOST)
        log_scale = params[..., -self.count :] - tf.sign(controls.learning_rate) * size  # a rate of 0 changes nothing
        scalars = self.base.apply(params, slots, gradient, controls, step)
        params[..., -self.count :].assign(log_scale)
        return scalars


def rule(config: ScheduleConfig) -> Adam | SGD:
    return Adam() if config.optimizer == "adam" else SGD(config.momentum)


def with_noise_scale(optimizer: Optimizer, num_noise_scales: int) -> Optimizer:
    """Return `optimizer`, which leaves to natural gradients the last parameters, so many, that are log scales of a
    Gaussian's noise (`Network.num_noise_scales`)."""
    return WithNoiseScale(optimizer, num_noise_scales) if num_noise_scales else optimizer


def make(config: ScheduleConfig, num_noise_scales: int) -> Optimizer:
    """Return the optimizer that the flags name."""
    return with_noise_scale(rule(config), num_noise_scales)
