"""Update rules on one flat parameter vector [P] or [M, P]: one fused kernel per step."""

from typing import Protocol

import tensorflow as tf

from bnn_hvd.config.schedule import ScheduleConfig


class Optimizer(Protocol):
    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        """Return the variables that the rule keeps per parameter, each in the shape of `params`."""

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, learning_rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:  # fmt: skip
        """Update `params` and `slots` by a gradient in the shape of `params`; `step` counts from 0."""


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with its published constants."""

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return {name: tf.Variable(tf.zeros_like(params), name=f"adam_{name}") for name in ("mean", "square")}

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, learning_rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:  # fmt: skip
        count = tf.cast(step + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=params.handle, m=slots["mean"].handle, v=slots["square"].handle,
            beta1_power=self.beta1**count, beta2_power=self.beta2**count,
            lr=learning_rate, beta1=self.beta1, beta2=self.beta2, epsilon=self.epsilon, grad=gradient,
        )  # fmt: skip


class SGD(Optimizer):
    """Stochastic gradient descent with (heavy-ball) momentum."""

    def __init__(self, momentum: float):
        self.momentum = momentum

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return {"velocity": tf.Variable(tf.zeros_like(params), name="sgd_velocity")} if self.momentum else {}

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, learning_rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:  # fmt: skip
        if not self.momentum:
            params.assign_sub(learning_rate * gradient)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=params.handle, accum=slots["velocity"].handle, lr=learning_rate, grad=gradient, momentum=self.momentum
        )


def make(config: ScheduleConfig) -> Optimizer:
    return Adam() if config.optimizer == "adam" else SGD(config.momentum)
