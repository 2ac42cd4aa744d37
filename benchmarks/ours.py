"""This project's training steps: the real loop over the real methods."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from benchmarks import workload
from benchmarks.workers import MOST_STEPS, Case

NAME = "bnn_hvd"
KINDS = {
    "fc": ("point", "reparam", "flipout", "local_reparam"),
    "conv": ("point", "reparam", "flipout"),
    "vgg3": ("point", "reparam", "flipout"),
}


def cases(spec: dict[str, Any]) -> Iterator[Case]:
    """Yield the training steps of the networks that are asked for."""
    start_tensorflow(spec["threads"])
    for network in spec["networks"]:
        for kind in spec.get("kinds", KINDS[network]):
            yield training(network, kind)


def start_tensorflow(threads: int, side_by_side: bool = False) -> None:
    """Import TensorFlow with what bnn_hvd.cli sets before it does.

    side_by_side: threads for whole operations, as full-batch methods have them; else all threads for each operation.
    """
    import os

    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1 if side_by_side else threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads if side_by_side else 1)


def flags(network: str, kind: str) -> dict[str, str]:
    """Return the flags of a network: under vi all layers of vgg3 are Bayesian, of the others all but the output."""
    if kind == "point":
        return {"network": network, "method": "point"}
    layers = "all" if network == "vgg3" else "hidden"
    return {"network": network, "method": "vi", "estimator": kind, "bayesian_layers": layers}


def training(network: str, kind: str, ranks: Any = None) -> Case:
    """Return the loop of `train` over one network, in one process or on many ranks."""
    from bnn_hvd.config import TrainConfig

    run, _ = loop_and_predictor(TrainConfig(**flags(network, kind)), workload.training_part(network), ranks)
    return Case(network, kind, run)


def loop_and_predictor(config: Any, data: Any, ranks: Any = None) -> tuple[Any, Any]:
    """Return the loop of `train` as run(steps), and the predictor of its state; data: x, y of the training part."""
    import numpy as np

    from bnn_hvd import seeds
    from bnn_hvd.config import resolve
    from bnn_hvd.data import standardize
    from bnn_hvd.data.pipeline import Examples
    from bnn_hvd.distributed.cluster import Solo
    from bnn_hvd.inference import build as inference
    from bnn_hvd.models.network import build
    from bnn_hvd.prediction.predictor import Predictor
    from bnn_hvd.training.plan import Call
    from bnn_hvd.training.train import compile_loop

    x, y = data
    config = resolve(dataclasses.replace(config, batch_size=workload.BATCH_SIZE))
    method = inference.build(config, build(config, x.shape[1:], 10), len(x), ranks or Solo())
    state = method.init(seeds.seed(0, "init"))
    standardizer = standardize.fit(x, config.standardize)
    loop = compile_loop(method, state, Examples(x, y, standardizer), config.batch_size)

    index, ones = workload.batches(len(x)), np.ones(MOST_STEPS, np.float32)
    noise = np.stack([seeds.seed(0, "noise", 0, step) for step in range(MOST_STEPS)])

    def run(steps: int) -> None:
        loop(Call(index[:steps], noise[:steps], config.learning_rate * ones[:steps], ones[:steps]))

    return run, Predictor(method, state, standardizer, ranks or Solo(), 0)
