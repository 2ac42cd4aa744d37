"""The threads and the GPU of one rank."""

import os
import sys

from bnn_hvd.distributed.cluster import Cluster


def choose_threads(requested: int, cluster: Cluster) -> int:
    """Return the number of threads of this rank.

    It is the requested number. If that is 0, it is the number of cores to which the launcher has bound this rank
    (`aprun -cc depth`, `srun --cpu-bind`), and without a binding this rank's share of the cores of the host.
    """
    host_cores = os.cpu_count() or 1
    bound_cores = len(os.sched_getaffinity(0))
    share = bound_cores if bound_cores < host_cores else max(1, host_cores // cluster.local_size)
    threads = requested or share
    if cluster.is_root and threads * cluster.local_size > host_cores:
        print(
            f"bnn_hvd: warning: {cluster.local_size} ranks x {threads} threads on a host with {host_cores} cores: "
            f"the threads will wait for each other; --threads={max(1, host_cores // cluster.local_size)} fits",
            file=sys.stderr,
        )
    return threads


def _start_xla_quietly() -> None:
    """Compile a trivial function with stderr closed: the first use of XLA prints lines that no log level stops."""
    import tensorflow as tf

    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        tf.function(lambda: tf.constant(0.0), jit_compile=True)()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def set_up(requested_threads: int, cluster: Cluster, deterministic: bool = False, side_by_side: bool = False) -> int:
    """Give TensorFlow this rank's threads and, on a host with GPUs, one GPU; returns the number of threads.

    requested_threads: 0 leaves the choice to `choose_threads`.
    deterministic: only kernels that give the same bits every time.
    side_by_side: each operation runs on one thread, and several operations at once; full-batch methods are faster so.
    """
    import tensorflow as tf

    threads = choose_threads(requested_threads, cluster)
    tf.config.threading.set_intra_op_parallelism_threads(1 if side_by_side else threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[cluster.local_rank % len(gpus)], "GPU")
        tf.config.experimental.set_memory_growth(gpus[cluster.local_rank % len(gpus)], True)
    _start_xla_quietly()
    return threads
