"""Separate environments for the peers that can't be installed beside this project's TensorFlow."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def python_of(name: str, installs: Sequence[Sequence[str]], create: bool) -> Path | None:
    """Return the Python of the environment BNN_HVD_<NAME>_ENV, by default ~/.cache/bnn_hvd/<name>-env.

    installs: the arguments of each `pip install` that makes the environment.
    create: make the environment if it does not exist or has other packages. Returns None if it does not exist then.
    """
    default = Path.home() / ".cache" / "bnn_hvd" / f"{name}-env"
    folder = Path(os.environ.get(f"BNN_HVD_{name.upper()}_ENV", default))
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = "\n".join(" ".join(packages) for packages in installs)

    def complete() -> bool:
        return ready.exists() and ready.read_text() == wanted

    if create and not complete():
        print(f"installing the environment of {name} in {folder}", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            for packages in installs:
                subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"without {name}: {error}", file=sys.stderr)
            return None
        ready.write_text(wanted)
    return python if complete() else None
