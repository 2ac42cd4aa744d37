"""The peer in TensorFlow: networks of TensorFlow Probability's layers, in the same in-graph loop with Adam."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import workload
from benchmarks.ours import KINDS
from benchmarks.workers import Case


def cases(spec: dict[str, Any]) -> Iterator[Case]:
    """Yield the training steps of the networks that are asked for."""
    start_tensorflow(spec["threads"])
    for network in spec["networks"]:
        for kind in spec.get("kinds", KINDS[network]):
            yield training(network, kind)


def start_tensorflow(threads: int) -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def training(network: str, kind: str) -> Case:
    """Return a loop over one network: loss = mean NLL + KL / num_train, gathered and scaled in the graph."""
    import tensorflow as tf
    import tf_keras

    x_all, y_all = workload.training_part(network)
    model, index = build(network, kind, x_all.shape[1:]), tf.constant(workload.batches(len(x_all)))
    num_train, x_all, y_all = len(x_all), tf.constant(x_all), tf.constant(y_all)
    optimizer = tf_keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function
    def loop(steps):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in tf.range(steps):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            x = (tf.cast(tf.gather(x_all, index[i]), tf.float32) - workload.MEAN) * (1 / workload.STD)
            with tf.GradientTape() as tape:
                nll = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(y_all, index[i]), model(x))
                loss = tf.reduce_mean(nll) + sum(model.losses) / num_train
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
            total += loss
        return total

    return Case(network, kind, lambda steps: loop(tf.constant(steps)).numpy())


def build(network: str, kind: str, example_shape: tuple[int, ...]) -> Any:
    """Return the network as a user of tf_keras and tfp.layers writes it."""
    import tf_keras

    dense, conv = layers(kind)
    plain = tf_keras.layers

    def pool() -> Any:
        return plain.MaxPool2D(2, 2, "same")

    page = {
        "fc": lambda: [plain.Flatten(), dense(64, activation="relu"), plain.Dense(10)],
        "conv": lambda: [conv(64, 5), pool(), plain.Flatten(), plain.Dense(10)],
        "vgg3": lambda: [
            *(layer for filters in (32, 64, 128) for layer in (conv(filters, 3), conv(filters, 3), pool())),
            plain.Flatten(), dense(128, activation="relu"), dense(10),
        ],
    }  # fmt: skip
    return tf_keras.Sequential([plain.Input(example_shape), *page[network]()])


def layers(kind: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the constructors of the dense and the convolutional (SAME, ReLU) layers of a kind."""
    import tensorflow_probability as tfp
    import tf_keras

    dense, conv = {
        "point": (tf_keras.layers.Dense, tf_keras.layers.Conv2D),
        "reparam": (tfp.layers.DenseReparameterization, tfp.layers.Convolution2DReparameterization),
        "flipout": (tfp.layers.DenseFlipout, tfp.layers.Convolution2DFlipout),
        "local_reparam": (tfp.layers.DenseLocalReparameterization, None),
    }[kind]
    return dense, lambda filters, width: conv(filters, width, padding="same", activation="relu")
