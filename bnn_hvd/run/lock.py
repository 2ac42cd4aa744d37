"""The lock of a run directory: one job at a time trains on it."""

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from bnn_hvd.distributed import cluster
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError
from bnn_hvd.run import records


@contextlib.contextmanager
def claimed(run: Path, ranks: Cluster) -> Iterator[Path]:
    """Make the run directory, and keep other jobs from training on it until the block ends.

    The operating system holds the lock and frees it when the job dies, however it dies.

    Raises:
      UserError: on all ranks, if the directory can't be written or another job has the lock.
    """
    held: list[int] = []
    cluster.on_root(ranks, lambda: held.append(_make_and_lock(run)))
    try:
        yield run
    finally:
        for descriptor in held:
            os.close(descriptor)


def _make_and_lock(run: Path) -> int:
    records.make_run_directory(run)
    descriptor = os.open(run / records.LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode(errors="replace")
        os.close(descriptor)
        raise UserError(
            f"another job trains on {run.absolute()} ({holder}): wait for it, or give another --run"
        ) from None
    except OSError as error:  # a file system without locks
        print(f"bnn_hvd: warning: {run} can't be locked ({error}): start one job on it at a time", file=sys.stderr)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"host {socket.gethostname()}, process {os.getpid()}".encode())
    return descriptor
