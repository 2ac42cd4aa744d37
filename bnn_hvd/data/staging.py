"""Data staging: one copy per host from the parallel file system to a node-local folder.

A thousand ranks that open one file at once wait for its metadata server; a copy in the node's memory or
on its disk is read by all ranks of the node.
"""

import hashlib
import os
import shutil
from pathlib import Path

from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError


def stage(data_dir: str, stage_dir: str, ranks: Cluster) -> str:
    """Copy the file or folder `data_dir` into `stage_dir` unless it is there, and return where; all ranks wait.

    Raises:
      UserError: the folder can't be written, or has no room.
    """
    if not (data_dir and stage_dir):
        return data_dir
    source = Path(data_dir).absolute()
    target = Path(stage_dir) / f"{_identity(source)}-{source.name}"
    if ranks.local_rank == 0 and not target.exists():
        try:
            _copy(source, target)
        except OSError as error:
            raise UserError(f"{source} can't be staged to {target.parent.absolute()}: {error}") from None
    ranks.barrier()
    return str(target)


def _copy(source: Path, target: Path) -> None:
    """Copy under a temporary name, then rename: a copy that was interrupted is never taken for a whole one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            shutil.copyfile(source, temporary)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)
        raise


def _identity(source: Path) -> str:
    """Return a short name for this state of the source: a changed file is copied again."""
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:12]
