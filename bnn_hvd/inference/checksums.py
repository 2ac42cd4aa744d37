"""Checksums of gradient and weights after each step, to find where two runs begin to differ; and faults to inject.

A checksum is sum_i (2 i + 1) bits_i modulo 2^32, where bits_i is number i read as int32. A sum of integers does not
depend on the order, and one flipped bit always changes it, because 2 i + 1 is odd.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.config import TrainConfig
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.errors import UserError
from bnn_hvd.inference import parameter_index
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.method import Method, Scalars, State
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.models.network import Network
from bnn_hvd.run import records
from bnn_hvd.run.checkpoint import Progress

Step = Callable[[State, Batch, Controls], Scalars]
CHECKED = ("gradient", "weights")
HALVES = ("low", "high")  # 16 bits each: exact as float32, the type of a step's scalars


class ChecksumOptimizer(Optimizer):
    """An update rule that records the checksum of each gradient.

    nudge_step: step (1, 2, ...) whose gradient is changed by one ulp first; 0: none.
    """

    def __init__(self, optimizer: Optimizer, nudge_step: int):
        self.optimizer, self.nudge_step = optimizer, nudge_step
        self.gradient_checksum = tf.Variable(0, dtype=tf.int32, trainable=False)

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return self.optimizer.slots(params)

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, controls: Controls,
        step: tf.Tensor,
    ) -> Scalars:  # fmt: skip
        if self.nudge_step:
            gradient = tf.cond(tf.equal(step + 1, self.nudge_step), lambda: nudged(gradient), lambda: gradient)
        self.gradient_checksum.assign(checksum(gradient))
        return self.optimizer.apply(params, slots, gradient, controls, step)


def with_checksums(method: Method, config: TrainConfig) -> Step:
    """Return the step of a method; with --checksums its scalars include the checksums, in halves.

    With --checksums or --nudge_step the optimizer of the method is wrapped in a `ChecksumOptimizer`.
    """
    optimizer = wrap_optimizer(method, config)
    if not config.machine.checksums:
        return method.step

    def step(state: State, batch: Batch, controls: Controls) -> Scalars:
        scalars = method.step(state, batch, controls)
        gradient = optimizer.gradient_checksum.read_value() if optimizer else tf.constant(0)
        for name, bits in zip(CHECKED, (gradient, checksum(tf.convert_to_tensor(state.params))), strict=True):
            low, high = tf.bitwise.bitwise_and(bits, 0xFFFF), tf.bitwise.right_shift(bits, 16)
            scalars |= {f"{name}_low": tf.cast(low, tf.float32), f"{name}_high": tf.cast(high, tf.float32)}
        return scalars

    return step


def wrap_optimizer(method: Method, config: TrainConfig) -> ChecksumOptimizer | None:
    """Wrap the optimizer of a method, if --checksums or --nudge_step is set and the method has one."""
    if not (config.machine.checksums or config.machine.nudge_step):
        return None
    if method.optimizer is None:
        assert not config.machine.nudge_step, "a method without an optimizer does not take --nudge_step"
        return None
    method.optimizer = wrapped = ChecksumOptimizer(method.optimizer, config.machine.nudge_step)
    return wrapped


def checksum(x: tf.Tensor) -> tf.Tensor:
    """Return the checksum, int32 [], of float32 [...]."""
    bits = tf.bitcast(tf.reshape(x, [-1]), tf.int32)
    odd = np.arange(1, 2 * x.shape.num_elements(), 2, dtype=np.int64).astype(np.int32)
    return tf.reduce_sum(bits * odd)


def nudged(x: tf.Tensor) -> tf.Tensor:
    """Return float32 [...] with its largest entry (in magnitude) one ulp further from 0."""
    flat = tf.reshape(x, [-1])
    index = tf.argmax(tf.abs(flat), output_type=tf.int32)
    bits = tf.tensor_scatter_nd_add(tf.bitcast(flat, tf.int32), [[index]], [1])
    return tf.reshape(tf.bitcast(bits, tf.float32), x.shape)


def flip_bit(state: State, config: TrainConfig, network: Network) -> None:
    """Flip bit --flip_bit, if set, of the first weight of the output layer: every example's outputs depend on it.

    Raises:
      UserError: weights have no such bit.
    """
    if config.machine.flip_bit < 0:
        return
    if config.machine.flip_bit > 31:
        raise UserError(f"--flip_bit={config.machine.flip_bit} must be at most 31: weights have 32 bits")
    index_P = np.arange(network.num_parameters)
    first = network.slices(index_P)[f"{network.layers[-1]}/kernel"][0]
    params = state.params.numpy()
    index = parameter_index.of_theta(config.method.options, network)[first]
    params.view(np.uint32)[..., index] ^= np.uint32(1 << config.machine.flip_bit)
    state.params.assign(params)


def writing(loop: Callable[..., Any], run: Path, progress: Progress, is_root: bool) -> Callable[..., Any]:
    """Return `loop` with the checksums removed from its history; rank 0 writes them to a file, one line per step."""
    path, step = run / records.CHECKSUMS, progress.step
    if is_root:
        records.drop_rows_after(path, step, progress.first_member)

    def loop_with_checksums(call: Any) -> dict[str, np.ndarray]:
        nonlocal step
        history = loop(call)
        parts = {name: [history.pop(f"{name}_{half}").astype(np.int64) for half in HALVES] for name in CHECKED}
        sums = {name: (low + (high << 16)) & 0xFFFFFFFF for name, (low, high) in parts.items()}
        if is_root:
            records.append_jsonl(path, *(
                {"first_member": progress.first_member, "step": step + i + 1}
                | {name: f"{values[i]:08x}" for name, values in sums.items()}
                for i in range(call.steps)
            ))  # fmt: skip
        step += call.steps
        return history

    return loop_with_checksums
