"""Training on data in files: the bits of the same data in memory, and no more memory than a few batches."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import running

from bnn_hvd.config import resolve
from bnn_hvd.data import pipeline
from bnn_hvd.run import records
from bnn_hvd.training import train

FLAGS = ("--model=BNN_FC_flip", "--batch_size=8", "--epochs=2", "--eval_draws=2", "--threads=1", "--augment=crop")
LARGE, LIMIT_MB = 600_000, 900  # 470 MB of examples; training on a few needs 620 MB, nearly all of it TensorFlow's

LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1)) << 20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # of memory of its own: pages of files do not count
from bnn_hvd import cli
cli.main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Write one data set in memory's and in two other forms."""
    folder = tmp_path_factory.mktemp("stored")
    random = np.random.default_rng(0)
    x, y = random.integers(0, 255, [290, 9, 9, 1], dtype=np.uint8), np.arange(290) % 3
    parts = {"x_train": x[:240], "y_train": y[:240], "x_test": x[240:], "y_test": y[240:]}
    np.savez(folder / "npz", **parts)
    (folder / "npy").mkdir()
    with h5py.File(folder / "hdf5", "w") as file:
        for name, part in parts.items():
            np.save(folder / "npy" / name, part)
            file.create_dataset(name, data=part, chunks=(50, *part.shape[1:]), compression="gzip")
    (folder / "npz.npz").rename(folder / "npz")
    return folder


def command(folder: Path, dataset: str, run: Path) -> list[str]:
    return ["train", *FLAGS, f"--dataset={dataset}", f"--data_dir={folder / dataset}", f"--run={run}"]


def result(run: Path) -> tuple:
    summary = running.read_json(run, records.SUMMARY)
    return summary["weights_sha256"], summary["test"], running.read_json(run, records.DATA)


@running.needs_horovodrun
@pytest.mark.parallel
def test_two_ranks_have_the_weights_of_two_ranks_with_the_data_in_memory(folder):
    runs = {name: folder / f"two_{name}" for name in ("npz", "npy")}
    running.all_succeed(folder / "two", *(command(folder, name, run) for name, run in runs.items()), ranks=2)
    assert result(runs["npy"]) == result(runs["npz"])


def test_calls_in_parts_have_the_same_weights(folder, monkeypatch):
    """Two steps fit into a part of a call; a prediction, too, is made in parts."""
    monkeypatch.setattr(pipeline, "CALL_BYTES", 2 * 8 * 81)
    monkeypatch.setattr("bnn_hvd.prediction.predictor.DEALT_BYTES", 40 * 81)
    for name in ("npz", "npy", "hdf5"):
        flags = dict(flag.removeprefix("--").split("=") for flag in command(folder, name, folder / f"one_{name}")[1:])
        flags |= {"batch_size": 8, "epochs": 2, "eval_draws": 2, "threads": 1}
        assert train.main(resolve(**flags)) == 0
    assert result(folder / "one_npy") == result(folder / "one_hdf5") == result(folder / "one_npz")


def test_data_larger_than_the_memory_that_is_allowed(tmp_path):
    """The file has holes, so that it takes no room on the disk. In memory it is needed twice, and does not fit once."""
    shape = (LARGE, 784)
    np.lib.format.open_memmap(tmp_path / "x_train.npy", "w+", np.uint8, shape).flush()
    np.save(tmp_path / "y_train.npy", (np.arange(LARGE) % 10).astype(np.uint8))
    np.save(tmp_path / "x_test.npy", np.zeros([20, 784], np.uint8))
    np.save(tmp_path / "y_test.npy", np.arange(20) % 10)
    (tmp_path / "limited.py").write_text(LIMITED)
    job = running.python(
        tmp_path / "limited.py", str(LIMIT_MB), "train", "--dataset=npy", f"--data_dir={tmp_path}", "--steps=30",
        "--standardize=none", "--architecture=fc", "--method=point", "--threads=1", f"--run={tmp_path / 'run'}",
    )  # fmt: skip
    assert job.returncode == 0, job.stderr
    assert running.read_json(tmp_path / "run", records.SUMMARY)["steps"] == 30
