"""The origin of a result: versions, hosts, command, revision and environment."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnn_hvd.distributed import launcher

PACKAGES = ("tensorflow", "tensorflow-cpu", "tensorflow-probability", "keras", "horovod", "mpi4py", "numpy")
PACKAGE = Path(__file__).resolve().parents[1]  # all of the code, not this folder: the ranks must agree on it
ENVIRONMENT = ("OMP_", "KMP_", "TF_", "XLA_", "HOROVOD_", "CUDA_VISIBLE", "SLURM_JOB", "PBS_JOBID", "COBALT_JOB")


def session(hosts: list[str], ranks: int, threads: int) -> dict[str, Any]:
    """Return the entry of one session of a run in provenance.json."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "argv": sys.argv,
        "hosts": hosts,
        "ranks": ranks,
        "threads": threads,
        "bnn_hvd": _version("bnn_hvd"),
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(ENVIRONMENT)},
    }


def fingerprint(flags: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be equal on all ranks, by name: versions, code, flags and the size of the world."""
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(PACKAGE.rglob("*.py")))).hexdigest()[:12]
    facts = {
        "python": platform.python_version(),
        "code": code,
        **{f"--{name}": str(value) for name, value in flags.items()},
        "world size": str(launcher.world_size()),
    }
    return facts | {name: version for name in PACKAGES if (version := _version(name))}


def git_revision() -> str | None:
    """Return the commit of this package's checkout, with `+changes` if files differ from it; None without git."""
    try:
        commit, status = (
            subprocess.run(["git", "-C", PACKAGE, *command], capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no", "."])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if status else "")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
