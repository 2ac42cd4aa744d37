"""Runs each operation of a training step many times on one input. `ops` starts it as a program.

TensorFlow has one number of threads and one mode of determinism per process, so each combination needs a process.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.distributed import cluster, machine
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.run import records
from bnn_hvd.studies.churn import measures

REFUSALS = (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError)
Tensors = dict[str, tf.Tensor]


def inputs() -> Tensors:
    """Return the inputs of the operations, with the sizes of a training step of a small convolutional network."""
    rng = np.random.default_rng(0)
    shapes = {
        "images": [32, 32, 32, 16], "kernel": [3, 3, 16, 32], "maps": [32, 32, 32, 32], "half": [32, 16, 16, 16],
        "rows": [2048, 512], "columns": [512, 256], "logits": [4096, 100], "long": [2_000_000],
        "doubled": [32, 64, 64, 16],
    }  # fmt: skip
    tensors = {name: tf.constant(rng.normal(size=shape), tf.float32) for name, shape in shapes.items()}
    index = {"labels": (4096, 100), "segments": (2048, 16), "places": (2048, 64)}
    return tensors | {name: tf.constant(rng.integers(0, top, size), tf.int32) for name, (size, top) in index.items()}


def gradient(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, upstream: tf.Tensor | None = None) -> tf.Tensor:
    """Return the gradient of a function at x, as a dense tensor."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tf.convert_to_tensor(tape.gradient(y, x, upstream))


OPERATIONS: dict[str, Callable[[Tensors], tf.Tensor]] = {
    "matmul": lambda t: tf.matmul(t["rows"], t["columns"]),
    "convolution": lambda t: tf.nn.conv2d(t["images"], t["kernel"], 1, "SAME"),
    "convolution, gradient to its input": lambda t: gradient(
        lambda x: tf.nn.conv2d(x, t["kernel"], 1, "SAME"), t["images"], t["maps"]
    ),
    "convolution, gradient to its kernel": lambda t: gradient(
        lambda k: tf.nn.conv2d(t["images"], k, 1, "SAME"), t["kernel"], t["maps"]
    ),
    "max-pool, gradient": lambda t: gradient(lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"), t["images"], t["half"]),
    "bias, gradient": lambda t: gradient(lambda b: tf.nn.bias_add(t["maps"], b), t["maps"][0, 0, 0], t["maps"]),
    "softmax cross-entropy, gradient": lambda t: gradient(
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(t["labels"], x), t["logits"]
    ),
    "sum of 2,000,000": lambda t: tf.reduce_sum(t["long"]),
    "mean over the image": lambda t: tf.reduce_mean(t["images"], [1, 2]),
    "segment sum": lambda t: tf.math.unsorted_segment_sum(t["rows"], t["segments"], 16),
    "gather, gradient": lambda t: gradient(lambda x: tf.gather(x, t["places"]), t["columns"], t["rows"][:, :256]),
    "resize bilinear, gradient": lambda t: gradient(lambda x: tf.image.resize(x, [64, 64]), t["images"], t["doubled"]),
    "resize nearest, gradient": lambda t: gradient(
        lambda x: tf.image.resize(x, [64, 64], "nearest"), t["images"], t["doubled"]
    ),
}


def repeated(function: Callable[[], tf.Tensor], repeats: int) -> dict[str, Any]:
    """Return whether a function gives the same bits each time, the largest difference in ulps, and the median ms."""
    try:
        first, *others = (function().numpy() for _ in range(2))
        times, most = [], measures.ulps(first, others[0])
        for _ in range(repeats - 1):
            start = time.perf_counter()
            again = function().numpy()
            times.append(1e3 * (time.perf_counter() - start))
            most = max(most, measures.ulps(first, again))
    except REFUSALS as error:
        return {"refused": str(error).split("\n")[0][:120]}
    digest = hashlib.sha256(first.tobytes()).hexdigest()[:16]
    return {"equal": most == 0, "ulps": most, "ms": float(np.median(times)), "digest": digest}


def local(repeats: int) -> dict[str, Any]:
    """Return the measurements of `repeated` for each operation."""
    tensors = inputs()
    found = {}
    for name, operation in OPERATIONS.items():
        compiled = tf.function(lambda operation=operation: operation(tensors), autograph=False)
        found[name] = repeated(compiled, repeats)
    return found


def allreduce(ranks: cluster.Cluster, repeats: int) -> dict[str, Any]:
    """Return the measurements of `repeated` for an all-reduce of 1,000,000 numbers; each rank has its own numbers."""
    mine = tf.constant(np.random.default_rng(ranks.rank).normal(size=1_000_000), tf.float32)
    compiled = tf.function(lambda: ranks.mean([mine], "probe")[0], autograph=False)
    return {f"all-reduce on {ranks.size} ranks": repeated(compiled, repeats)}


def main(threads: int, deterministic: bool, repeats: int, path: Path) -> None:
    """Probe all operations, or on several ranks the all-reduce, and let rank 0 write the measurements."""
    ranks = cluster.connect()
    machine.set_up(threads, ranks, deterministic)
    found = local(repeats) if isinstance(ranks, Solo) else allreduce(ranks, repeats)
    if ranks.is_root:
        records.write_json(path, found)
    ranks.barrier()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "on", int(sys.argv[3]), Path(sys.argv[4]))
