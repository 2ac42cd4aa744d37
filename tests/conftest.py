"""Fixtures that all tests share."""

import os
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

# This comes before anything imports TensorFlow. It turns off the messages of its start, and sets one thread, so that
# equal runs are equal bit for bit.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# A shell lets its background jobs ignore Ctrl-C, and they pass that on to all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: BNN_HVD_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("BNN_HVD_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "mnist.npz").is_file():
        pytest.skip(f"no real data: {folder}/mnist.npz is missing (BNN_HVD_DATA names its folder)")
    return folder
