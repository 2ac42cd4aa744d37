"""The threads and the GPU of one rank."""

import os
import sys

from bnn_hvd.distributed import cores
from bnn_hvd.distributed.cluster import Cluster


def choose_threads(requested: int, cluster: Cluster) -> int:
    """Return the number of threads of this rank.

    It is the requested number. If that is 0, it is this rank's share of the cores that it may run on: those to which
    the launcher has bound it, shared with the ranks that may run on them, too.
    """
    places = cluster.places()
    warning = cores.warning(places, requested)
    if warning and cluster.is_root:
        print(warning, file=sys.stderr)
    return requested or cores.threads(cores.here(), places)


def has_computed() -> bool:
    """Return whether this process has computed with TensorFlow: its threads would be missing in a fork of it."""
    import tensorflow as tf

    threads = tf.config.threading.get_inter_op_parallelism_threads()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(threads + 1)
    except RuntimeError:
        return True
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return False


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

    In a process that has computed with TensorFlow already, its threads and GPUs stay as they are.
    """
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # no warning that predictions of many sizes are compiled for each
    threads = choose_threads(requested_threads, cluster)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.config.threading.set_intra_op_parallelism_threads(1 if side_by_side else threads)
    except RuntimeError:  # TensorFlow runs; 0 is its default, all cores
        return tf.config.threading.get_inter_op_parallelism_threads() or len(cores.here().cores)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[cluster.local_rank % len(gpus)], "GPU")
        tf.config.experimental.set_memory_growth(gpus[cluster.local_rank % len(gpus)], True)
    _start_xla_quietly()
    return threads
