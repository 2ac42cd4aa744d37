"""Update rules on one flat parameter vector: a single fused kernel a step, whatever the network."""

from typing import Protocol

import tensorflow as tf


class Optimizer(Protocol):
    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        """Return the state that the rule keeps per parameter."""

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, learning_rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:  # fmt: skip
        """Change `params` and `slots`; `step` counts from 0."""


class Adam:
    """Adam (Kingma & Ba 2015) with its published constants."""

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return {name: tf.Variable(tf.zeros_like(params), name=f"adam_{name}") for name in ("mean", "square")}

    def apply(self, params, slots, gradient, learning_rate, step) -> None:  # type: ignore[no-untyped-def]
        count = tf.cast(step + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=params.handle, m=slots["mean"].handle, v=slots["square"].handle,
            beta1_power=self.beta1**count, beta2_power=self.beta2**count,
            lr=learning_rate, beta1=self.beta1, beta2=self.beta2, epsilon=self.epsilon, grad=gradient,
        )  # fmt: skip


class SGD:
    """Stochastic gradient descent with (heavy-ball) momentum."""

    def __init__(self, momentum: float):
        self.momentum = momentum

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return {"velocity": tf.Variable(tf.zeros_like(params), name="sgd_velocity")} if self.momentum else {}

    def apply(self, params, slots, gradient, learning_rate, step) -> None:  # type: ignore[no-untyped-def]
        if not self.momentum:
            params.assign_sub(learning_rate * gradient)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=params.handle, accum=slots["velocity"].handle, lr=learning_rate, grad=gradient, momentum=self.momentum
        )


def make(name: str, momentum: float) -> Optimizer:
    return Adam() if name == "adam" else SGD(momentum)
