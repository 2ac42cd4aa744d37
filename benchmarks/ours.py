"""The training steps of this project: the loop of `train` over its methods."""

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
    """Import TensorFlow with the environment variables of bnn_hvd.cli, and set its threads as `train` does.

    side_by_side: each operation runs on one thread, as in full-batch methods. Else each runs on all threads.
    """
    import os

    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1 if side_by_side else threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def flags(network: str, kind: str) -> dict[str, str]:
    """Return the flags of a network. With vi, all layers of vgg3 are Bayesian, and all but the output of the others."""
    if kind == "point":
        return {"architecture": network, "method": "point"}
    layers = "all" if network == "vgg3" else "hidden"
    return {"architecture": network, "method": "vi", "estimator": kind, "bayesian_layers": layers}


def training(network: str, kind: str, ranks: Any = None) -> Case:
    """Return the loop of `train` over one network, in one process or on many ranks."""
    run, _ = loop_and_predictor(flags(network, kind), workload.training_part(network), ranks)
    return Case(network, kind, run)


def loop_and_predictor(flags: dict[str, Any], data: Any, ranks: Any = None) -> tuple[Any, Any]:
    """Return the loop of `train` as run(steps), and the predictor of its state; data is (x, y) of the training part."""
    import numpy as np

    from bnn_hvd import seeds
    from bnn_hvd.config import resolve
    from bnn_hvd.data import standardize
    from bnn_hvd.data.pipeline import Examples
    from bnn_hvd.distributed.cluster import Solo
    from bnn_hvd.inference.build import build_method
    from bnn_hvd.models.build import build_network
    from bnn_hvd.prediction.predictor import Predictor
    from bnn_hvd.targets import Classes
    from bnn_hvd.training.loop import compile_loop
    from bnn_hvd.training.plan import Call

    x, y = data
    config, target = resolve(**flags | {"batch_size": workload.BATCH_SIZE}), Classes(10)
    method = build_method(config, build_network(config, x.shape[1:], target), target, len(x), ranks or Solo())
    state = method.init(seeds.seed(0, "init"))
    standardizer = standardize.fit(x, config.data.standardize)
    loop = compile_loop(method.step, state, Examples(x, y, standardizer), (config.data.batch_size,), ranks or Solo())

    index, ones = workload.batches(len(x)), np.ones(MOST_STEPS, np.float32)
    noise = np.stack([seeds.seed(0, "noise", 0, step) for step in range(MOST_STEPS)])

    def run(steps: int) -> None:
        rate, scale_rate = config.schedule.learning_rate * ones[:steps], 0.01 * ones[:steps]
        loop(Call(index[:steps], noise[:steps], rate, ones[:steps], scale_rate, ones[:steps]))

    return run, Predictor(method, state, target, standardizer, ranks or Solo(), 0)
