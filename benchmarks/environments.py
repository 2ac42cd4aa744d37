"""Environments of their own for the peers that don't go with this project's TensorFlow."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def python_of(name: str, installs: Sequence[Sequence[str]], create: bool) -> Path | None:
    """Return the Python of an environment, where each of `installs` is what `pip install` was given.

    It is in BNN_HVD_<NAME>_ENV, by default ~/.cache/bnn_hvd/<name>-env. None if it isn't there and `create` is false
    or fails.
    """
    default = Path.home() / ".cache" / "bnn_hvd" / f"{name}-env"
    folder = Path(os.environ.get(f"BNN_HVD_{name.upper()}_ENV", default))
    python, ready = folder / "bin" / "python", folder / "ready"
    if create and not ready.exists():
        print(f"installing the environment of {name} in {folder}", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            for packages in installs:
                subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"without {name}: {error}", file=sys.stderr)
            return None
        ready.touch()
    return python if ready.exists() else None
