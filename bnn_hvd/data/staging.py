"""Data staging: one copy per host from the parallel file system to a node-local folder.

A thousand ranks that open one file at once wait for the metadata server of the file system. All ranks of a node can
read one copy in the memory or on the disk of the node.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from bnn_hvd.distributed import cluster
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import UserError


def stage(data_dir: str, stage_dir: str, ranks: Cluster) -> str:
    """Copy the file or folder `data_dir` into `stage_dir` unless it is there; return the path of the copy.

    Every rank must call it: all wait for the copy.

    Raises:
      UserError: on every rank, if a folder can't be written, or is full.
    """
    if not (data_dir and stage_dir):
        return data_dir
    source = Path(data_dir).absolute()
    target = Path(stage_dir) / f"{_identity(source)}-{source.name}"

    def copy() -> None:
        if ranks.local_rank == 0 and not target.exists():
            try:
                _copy(source, target)
            except OSError as error:
                raise UserError(
                    f"{source} can't be staged to {target.parent.absolute()}: {error}; give another --stage_dir"
                ) from None

    cluster.on_each(ranks, copy)
    return str(target)


def _copy(source: Path, target: Path) -> None:
    """Copy under a temporary name, then rename: an interrupted copy is never taken for a complete one.

    Of several jobs that copy at the same time, the first to be ready wins; the copies are equal.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        temporary = Path(folder) / source.name
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            shutil.copyfile(source, temporary)
        try:
            temporary.rename(target)
        except OSError:  # a folder can't take the place of another
            if not target.exists():
                raise


def _identity(source: Path) -> str:
    """Return a short name for this state of the source: a changed file is copied again."""
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:12]
