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

    The operating system holds the lock and frees it when the job dies, however it dies. A run directory that this made,
    and in which nothing was written, is removed again: a refused command leaves nothing behind.

    Raises:
      UserError: on all ranks, if the directory can't be written or another job has the lock.
    """
    missing = [folder for folder in (run, *run.absolute().parents) if not folder.exists()]
    held: list[int] = []
    try:
        cluster.on_root(ranks, lambda: held.append(_make_and_lock(run)))
        yield run
    finally:
        for descriptor in held:
            if missing and os.listdir(run) == [records.LOCK]:
                (run / records.LOCK).unlink()  # a job that has opened it notices that it is gone
            os.ftruncate(descriptor, 0)
            os.close(descriptor)
        if ranks.is_root:
            _remove_empty(missing)


def holder(run: Path) -> str:
    """Return which host and process holds the lock of a run directory, "" where there is none to be seen."""
    try:
        return (run / records.LOCK).read_text(errors="replace")
    except OSError:
        return ""


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, up to one that has content."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _make_and_lock(run: Path) -> int:
    """Return the descriptor of the lock; a refused job may remove its directory, and the lock in it, at any time."""
    while True:
        records.make_writable("the run directory", run)
        with contextlib.suppress(FileNotFoundError):
            descriptor = _lock(run)
            if _is_there(run / records.LOCK, descriptor):
                return descriptor
            os.close(descriptor)


def _is_there(path: Path, descriptor: int) -> bool:
    """Return whether the open file is still the one at `path`."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def _lock(run: Path) -> int:
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
