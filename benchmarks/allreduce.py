"""Latency and bandwidth of an all-reduce between two ranks on one host, over the message size."""

from typing import Any

import numpy as np

from benchmarks import jobs
from benchmarks.report import Report, Row, table
from benchmarks.workers import Case, Sample, time_steps

SIZES = [4, 64, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20]  # bytes
SETTINGS = [(library, cycle) for library in ("MPI", "Gloo") for cycle in ("0.1", "0.5", "1", "default")]
NOTES = """
A step is one `Cluster.mean` (a grouped all-reduce) of a float32 vector, in a loop in the graph. As in training, each
step depends on the one before. There are two ranks of one thread on this host. Cycle is HOROVOD_CYCLE_TIME in ms;
default: not set.

Fit: time = latency + bytes / bandwidth, by least squares of the relative errors of all sizes. The bytes are those of
the message.
"""


def run(quick: bool) -> Report:
    """Measure each library with each cycle time."""
    settings, spec = SETTINGS, {"sizes": SIZES, "rounds": 7}
    if quick:
        settings, spec = SETTINGS[:1], {"sizes": SIZES[:6], "rounds": 3}
    rows, lines = [], []
    for library, cycle in settings:
        variables = {} if cycle == "default" else {"HOROVOD_CYCLE_TIME": cycle}
        measured = jobs.run("benchmarks.allreduce", spec, 2, (f"--{library.lower()}",), **variables)
        mine = [row(library, cycle, size, samples) for size, samples in zip(spec["sizes"], measured, strict=True)]
        latency_ms, bandwidth = fit(spec["sizes"], [r.step_ms for r in mine])
        for one in mine:
            one.more |= {"fit_latency_ms": latency_ms, "fit_bandwidth_gb_per_s": bandwidth}
        lines.append([library, cycle, *(r.step_ms for r in mine), latency_ms, bandwidth])
        rows += mine
    header = ("library", "cycle ms", *map(label, spec["sizes"]), "fit: latency ms", "fit: GB/s")
    title = "All-reduce, two ranks: ms by message size (medians)"
    return Report("allreduce", title, rows, [], [table(header, lines)], NOTES)


def row(library: str, cycle: str, size: int, samples: list[list[float]]) -> Row:
    return Row.of(
        [Sample(*sample) for sample in samples],
        network="", kind=f"cycle {cycle}", library=f"horovod {library}", threads=1, ranks=2, batch_size=None,
        more={"message_bytes": size},
    )  # fmt: skip


def label(size: int) -> str:
    power = (size.bit_length() - 1) // 10
    return f"{size >> 10 * power} {('B', 'kB', 'MB')[power]}"


def fit(sizes: list[int], times_ms: list[float]) -> tuple[float, float]:
    """Return latency in ms and bandwidth in GB/s: least squares of 1 - (latency + bytes / bandwidth) / time."""
    inverse = 1 / np.array(times_ms)
    (latency_ms, ms_per_byte), *_ = np.linalg.lstsq(np.stack([inverse, sizes * inverse], 1), np.ones(len(sizes)))
    return float(latency_ms), float(1e-6 / ms_per_byte)


def main(spec: dict[str, Any]) -> tuple[int, list[list[Sample]]]:
    """Time the sizes on this rank; returns the rank, and the samples of each size."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    from bnn_hvd.distributed import cluster

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    hvd.init()
    ranks = cluster.Hvd(hvd)  # not by `connect`, which sets the cycle time

    def samples(size: int) -> list[Sample]:
        vector = tf.ones([size // 4])

        @tf.function
        def loop(steps):  # type: ignore[no-untyped-def]
            x = vector
            for _ in tf.range(steps):
                tf.autograph.experimental.set_loop_options(parallel_iterations=1)
                x = tf.ensure_shape(ranks.mean([x], "vector")[0], vector.shape)
            return x[0]

        case = Case("", "", lambda steps: loop(tf.constant(steps)).numpy())
        steps = max(3, min(100, 20_000_000 // size))
        case.run(3)
        return [time_steps(case, steps) for _ in range(spec["rounds"])]

    return ranks.rank, [samples(size) for size in spec["sizes"]]


if __name__ == "__main__":
    given, out = jobs.given()
    rank, result = main(given)
    jobs.finish(out, result, rank)
