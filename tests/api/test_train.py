"""`bnn_hvd.train`, and what a run becomes outside of this package: a SavedModel, and the chains of hmc for arviz."""

import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import running

import bnn_hvd
from bnn_hvd.data import sources

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import keras_zoo

SMALL = {"method": "ivon", "steps": 4, "eval_draws": 2, "threads": 1}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=[64, 4, 3]).astype(np.float32), np.arange(64) % 3
DATA = (X[:48], Y[:48], X[48:], Y[48:])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a Keras model that was made here, on arrays that are here."""
    model, folder = keras_zoo.lstm((4, 3), 3), tmp_path_factory.mktemp("train") / "mine"
    return bnn_hvd.train(network=model, data=DATA, run=folder, batch_size=16, sequences=True, **SMALL)


def test_it_is_the_run_of_the_command_line(run, tmp_path):
    """The same model and data by `train`: equal weights to the bit. The run directory has both."""
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    data = ("--dataset=npz", f"--data_dir={run.path / 'data.npz'}", "--batch_size=16", "--sequences")
    network = f"--architecture={run.path / 'network.keras'}"
    running.all_succeed(tmp_path / "job", ["train", network, *data, *flags, f"--run={tmp_path / 'run'}"])
    assert running.read_json(tmp_path / "run")["weights_sha256"] == run.summary["weights_sha256"]
    assert run.predict(X[:5], num_draws=2).draws.shape == (2, 5, 3)
    assert run.evaluate(num_draws=2, check_draws=0)["num_examples"] == 16


def test_it_goes_on(run):
    before = run.summary["weights_sha256"]
    again = bnn_hvd.train(run=run.path, steps=6)
    assert (again.summary["steps"], again.config["architecture"]) == (6, str(run.path / "network.keras"))
    assert again.summary["weights_sha256"] != before
    with pytest.raises(bnn_hvd.UserError, match="has other data than these"):
        bnn_hvd.train(data=(X, *DATA[1:]), run=run.path)
    with pytest.raises(bnn_hvd.UserError, match="is another model"):
        bnn_hvd.train(network=keras_zoo.mlp((4, 3), 3), run=run.path)


def test_a_function_of_a_file_and_a_data_set_by_its_flags(tmp_path):
    made = bnn_hvd.train(network=keras_zoo.mlp, run=tmp_path / "run", architecture_args="width=4", **SMALL)
    assert made.config["architecture"] == f"{keras_zoo.__file__}:mlp"
    assert made.config["dataset"] == "digits"
    assert made.weights(2)["dense/kernel"].shape == (2, 64, 4)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"data": DATA[:3]}, "data has 3 parts"),
        ({"data": DATA, "run": ""}, "name it, as run='runs/mine'"),
        ({"network": 3}, "network is int"),
        ({"network": lambda net, x: x}, "not at the top of a file"),
        ({"data": ([[1], [1, 2]], *DATA[1:])}, "inhomogeneous|no array"),
        ({"data": DATA, "method": "vii"}, "unknown --method 'vii'"),
        ({"data": DATA, "network": keras_zoo.other_outputs}, "outputs of the shape"),
        ({"data": DATA, "network": keras_zoo.mlp((5,), 3)}, "calling it on examples"),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path, arguments, what):
    with pytest.raises((bnn_hvd.UserError, ValueError), match=what):
        bnn_hvd.train(**{"run": tmp_path / "run", "steps": 2, "batch_size": 16, "threads": 1} | arguments)
    assert not (tmp_path / "run").exists()


LOADER = """
import sys
sys.modules["bnn_hvd"] = None  # to import it is an error
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
for size in (5, 1):
    found = model(tf.constant(np.load(sys.argv[2])[:size]))
    assert found["mean"].shape[0] == size
served = model.signatures["serving_default"](x=tf.constant(np.load(sys.argv[2])))
np.savez(sys.argv[3], **{name: value.numpy() for name, value in served.items()})
"""


def served(run, x, folder):
    """Export a run, and return what another process without this package computes from it."""
    run.export(folder / "saved", num_draws=3, seed=5)
    np.save(folder / "x.npy", x.astype(np.float32))
    words = ("-c", LOADER, folder / "saved", folder / "x.npy", folder / "out.npz")
    job = running.python(*words, fresh=True, env={"PYTHONPATH": ""}, cwd=folder)
    assert job.returncode == 0, job.stderr
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def assert_equal_predictions(found, p):
    for name in ("mean", "total", "aleatoric", "epistemic", "draws"):
        np.testing.assert_allclose(found[name], getattr(p, name), rtol=2e-5, atol=2e-6)


def test_an_exported_keras_model_gives_the_same_numbers_without_this_package(run, tmp_path):
    assert_equal_predictions(served(run, X, tmp_path), run.predict(X, num_draws=3, seed=5))
    assert running.read_json(tmp_path / "saved", "bnn_hvd.json")["class_names"] == ["0", "1", "2"]
    with pytest.raises(bnn_hvd.UserError, match="is there already"):
        run.export(tmp_path / "saved")


def test_an_exported_curve_gives_the_same_numbers_in_the_units_of_its_targets(tmp_path):
    curve = bnn_hvd.train(network="mlp", dataset="sine", run=tmp_path / "run", **SMALL | {"method": "vi"})
    x = np.linspace(-2, 2, 9)[:, None].astype(np.float32)
    assert_equal_predictions(served(curve, x, tmp_path), curve.predict(x, num_draws=3, seed=5))


def test_masks_can_not_be_exported(tmp_path):
    for network in ("fc", keras_zoo.mlp):
        dropout = bnn_hvd.train(network, run=tmp_path / f"run_{callable(network)}", **SMALL | {"method": "mc_dropout"})
        with pytest.raises(bnn_hvd.UserError, match="draws masks for each example"):
            dropout.export(tmp_path / "saved")
        assert not (tmp_path / "saved").exists()


def test_the_chains_of_hmc_for_arviz(run, tmp_path, monkeypatch):
    """Each parameter is [chain, draw, ...], in the order of time; the fake arviz returns what it is given."""
    flags = {"method": "hmc", "num_chains": 2, "hmc_burn_in_steps": 2, "hmc_kept_draws": 3, "hmc_leapfrog_steps": 2}
    chains = bnn_hvd.train(network="linear", run=tmp_path / "run", steps=7, threads=1, **flags)
    monkeypatch.setitem(sys.modules, "arviz", SimpleNamespace(from_dict=lambda posterior: posterior))
    found = chains.to_arviz()
    assert {name: value.shape for name, value in found.items()} == {
        name: (2, 3, *value.shape[1:]) for name, value in chains.weights(1).items()
    }
    last = running.stored(chains.path)["params:0"]  # trajectory 7 was kept last
    kernel = found["outputs/kernel" if "outputs/kernel" in found else "logits/kernel"]
    assert any(np.array_equal(kernel[0, -1].ravel(), last[0, i : i + 640]) for i in (0, 10, 16))
    with pytest.raises(bnn_hvd.UserError, match="for the chains of --method=hmc"):
        run.to_arviz()
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(bnn_hvd.UserError, match="pip install arviz"):
        chains.to_arviz()


def test_arrays_of_any_shape_can_be_trained_on(tmp_path):
    """Volumes [N, D, H, W, C] are examples as they are."""
    x = RNG.normal(size=[8, 2, 3, 4, 2])
    np.savez(tmp_path / "v.npz", x_train=x, y_train=np.arange(8) % 2, x_test=x, y_test=np.arange(8) % 2)
    assert sources.load("npz", str(tmp_path / "v.npz")).x_train.shape == x.shape
    assert keras.backend.backend() == "tensorflow"
