"""Every Keras model of the zoo by `ivon`, on one rank and on two: trained, resumed, predicted, exported, reloaded."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import running
import tensorflow as tf

import bnn_hvd
from bnn_hvd.run import checkpoint, records

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import keras_zoo

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]
MIDDLE, STEPS, DRAWS = 3, 7, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=[80, 8, 8, 1]).astype(np.float32)
CLASSES = (X[..., 0] > 0.3).astype(int) + (X[..., 0] > -0.3)  # of each pixel


def data(name: str, folder: Path) -> Path:
    """Write the data of a model: a label for each example, time step or pixel."""
    y, path = CLASSES[(..., *[0] * (2 - keras_zoo.LABEL_AXES.get(name, 0)))], folder / f"{name}.npz"
    np.savez(path, x_train=X[:64], y_train=y[:64], x_test=X[64:], y_test=y[64:])
    return path


def train(name: str, file: Path, run: Path) -> list[str]:
    return [
        "train", "--method=ivon", f"--architecture={keras_zoo.__file__}:{name}", "--dataset=npz", f"--data_dir={file}",
        "--batch_size=16", f"--steps={STEPS}", f"--checkpoint_every_steps={MIDDLE}", "--keep=9", "--threads=1",
        "--eval_draws=2", "--eval_every_epochs=0", f"--run={run}",
    ]  # fmt: skip


def in_the_middle(whole: Path, run: Path) -> None:
    """Copy a run, as if its job had been killed after MIDDLE steps."""
    shutil.copytree(whole, run)
    (run / records.SUMMARY).unlink()
    for path in checkpoint.list_newest_first(run / records.CHECKPOINTS):
        if not path.name.startswith(f"step-{MIDDLE:010d}"):
            path.unlink()


def predict(run: Path) -> list[str]:
    return ["predict", f"--run={run}", f"--num_draws={DRAWS}", "--keep_draws=all", "--threads=1"]


@pytest.fixture(scope="module", params=keras_zoo.MODELS)
def runs(request, tmp_path_factory) -> dict[int, Path]:
    """The runs of a model by the number of ranks, predicted on as many; beside them, those in two parts."""
    folder, found = tmp_path_factory.mktemp(request.param), {}
    file = data(request.param, folder)
    for ranks in (1, 2):
        run = folder / f"run{ranks}"
        running.all_succeed(folder / f"whole{ranks}", train(request.param, file, run), predict(run), ranks=ranks)
        parted = folder / f"run{ranks}_parted"
        in_the_middle(run, parted)
        running.all_succeed(folder / f"parted{ranks}", train(request.param, file, parted), ranks=ranks)
        found[ranks] = run
    return found


@pytest.mark.parametrize("ranks", [1, 2])
def test_it_resumes_to_the_bit(runs, ranks):
    parted = runs[ranks].with_name(f"run{ranks}_parted")
    assert len(running.read_json(parted, records.PROVENANCE)) == 2
    whole, in_parts = running.stored(runs[ranks]), running.stored(parted)
    assert whole.keys() == in_parts.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, in_parts[name], err_msg=name)
    rows = running.rows(runs[ranks], "train")
    assert np.isfinite(rows[-1]["nll"])


def test_two_ranks_predict_what_one_does_and_a_loaded_run_too(runs):
    with np.load(runs[2] / records.PREDICTIVE) as arrays:
        two = dict(arrays)
    p = bnn_hvd.load(runs[2], threads=1).predict(X[64:], num_draws=DRAWS)
    np.testing.assert_array_equal(p.mean, two["probs_NC"])
    np.testing.assert_array_equal(p.draws, two["draws_SNC"])
    np.testing.assert_array_equal(p.epistemic, two["mutual_information_N"])
    assert p.epistemic.max() > 0


def test_it_is_exported(runs, tmp_path):
    run = bnn_hvd.load(runs[1], threads=1)
    run.export(tmp_path / "saved", num_draws=DRAWS)
    found, p = tf.saved_model.load(str(tmp_path / "saved"))(X[64:]), run.predict(X[64:], num_draws=DRAWS)
    for name in ("mean", "total", "aleatoric", "epistemic", "draws"):
        np.testing.assert_allclose(found[name], getattr(p, name), rtol=1e-4, atol=1e-5)
