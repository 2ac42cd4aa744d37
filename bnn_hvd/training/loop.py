"""The compiled loop over the steps of a call."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.data import augment
from bnn_hvd.data.pipeline import Examples
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.checksums import Step
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.method import Scalars, State
from bnn_hvd.training.plan import Call

Loop = Callable[[Call], dict[str, np.ndarray]]  # makes the steps of a call; returns their scalars [T] by name


def compile_loop(
    one_step: Step, state: State, examples: Examples, batch_shape: tuple[int, ...], ranks: Cluster
) -> Loop:
    """Return the compiled loop over the steps of a call; its first call traces it.

    batch_shape: (B,) examples of a step, or (M, B) where each member has its own.

    The first call raises TrainingError on every rank, before the first step, if the ranks would communicate different
    things in it.
    Legend: T steps, B examples, M members, K scalars.
    """
    # Only the loop itself is rewritten into a graph: AutoGraph would rewrite all that it calls, Horovod included.
    step, take, pack = (tf.autograph.experimental.do_not_convert(f) for f in (one_step, examples.take, _pack))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *batch_shape], tf.int32),
            tf.TensorSpec([None, 2], tf.int64),
            *[tf.TensorSpec([None], tf.float32)] * 4,
            tf.TensorSpec([None, *batch_shape, 3] if examples.augmented else augment.NOTHING.shape, tf.int32),
            tf.TensorSpec([None, 2], tf.int64),
            examples.inputs,
        ]
    )
    def loop(
        index: tf.Tensor, seeds_T2: tf.Tensor, learning_rate_T: tf.Tensor, kl_weight_T: tf.Tensor,
        scale_rate_T: tf.Tensor, scale_ceiling_T: tf.Tensor, augmentation: tf.Tensor, strain_seeds_T2: tf.Tensor,
        inputs: tuple[tf.Tensor, ...],
    ) -> Scalars:  # fmt: skip
        steps = tf.shape(index)[0]
        names: list[str] = []
        history_TK = tf.TensorArray(tf.float32, steps)
        for i in tf.range(steps):
            # Horovod refuses two of its operations with one name at a time: no two steps may overlap.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            controls = Controls(seeds_T2[i], learning_rate_T[i], kl_weight_T[i], scale_rate_T[i], scale_ceiling_T[i])
            how = augmentation[i] if examples.augmented else None
            seed = strain_seeds_T2[i] if examples.fresh_noise else None
            batch = take(index[i], how, seed, *(each[i] for each in inputs))
            history_TK = history_TK.write(i, pack(step(state, batch, controls), names))
        return dict(zip(names, tf.unstack(history_TK.stack(), len(names), axis=1), strict=True))

    return _in_numpy(loop, examples, ranks)


def _in_numpy(loop: Any, examples: Examples, ranks: Cluster) -> Loop:
    """Return the loop in numpy; its first call traces it, and checks that all ranks would communicate the same.

    A call of examples that are read from files is made in parts that fit into memory.
    """

    @functools.cache
    def trace() -> None:
        loop.get_concrete_function()
        ranks.check_collectives()

    def run(call: Call) -> dict[str, np.ndarray]:
        trace()
        parts = [call.part(first, examples.most_steps) for first in range(0, call.steps, examples.most_steps)]
        found = [loop(*part.inputs, examples.read(part.examples, part.ahead)) for part in parts]
        return {name: np.concatenate([values_T[name].numpy() for values_T in found]) for name in found[0]}

    return run


def _pack(scalars: Scalars, names: list[str]) -> tf.Tensor:
    """Return the scalars of a step as one tensor [K], and note their names, which are known once a step is traced."""
    names[:] = scalars
    return tf.stack(list(scalars.values()))
