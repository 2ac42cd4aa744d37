"""Networks of the user's own: what is loaded, what is refused, and the copy in the run directory."""

import hashlib
import sys

import numpy as np
import pytest
import running
import tensorflow as tf

from bnn_hvd.config import from_flagfile, resolve, to_flagfile
from bnn_hvd.errors import UserError
from bnn_hvd.models import own
from bnn_hvd.models.build import build_network
from bnn_hvd.run import own_code, records, rundir
from bnn_hvd.targets import Classes
from bnn_hvd.training import train

SHAPE = (3, 4)  # neither a vector nor an image
NETWORKS = """
import tensorflow as tf
from bnn_hvd.models import layers

def dense(net, x, depth=1, width=8, activation="relu"):
    x = layers.flatten(x, 2)
    for i in range(depth):
        x = getattr(tf.nn, activation)(net.dense(f"hidden{i}", x, width))
    return net.dense("outputs", x, net.num_outputs)

def no_axis_s(net, x):
    x = net.dense("hidden", layers.flatten(x, 2), 8)
    return net.dense("outputs", tf.reshape(x, [x.shape[0], 8]), net.num_outputs)

def mixes(net, x):
    x = net.dense("hidden", layers.flatten(x, 2), 8)
    return net.dense("outputs", x - tf.reduce_mean(x), net.num_outputs)

def wrong_outputs(net, x):
    return net.dense("outputs", layers.flatten(x, 2), net.num_outputs + 2)

def needs(net, x, depth):
    return dense(net, x, depth)

def other(a, b):
    return a
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_net.py"
    path.write_text(NETWORKS)
    return path


def configured(architecture, **flags):
    return resolve(**{"architecture": str(architecture)} | flags)


def build(architecture, **flags):
    return build_network(configured(architecture, **flags), SHAPE, Classes(3))


def test_the_arguments_of_a_function_are_flags(file):
    network = build(f"{file}:dense", architecture_args="depth=2, width=5,activation=tanh")
    assert [p.shape for p in network.parameters if p.is_kernel] == [(12, 5), (5, 5), (5, 3)]
    theta, x = tf.ones([network.num_parameters]) * 0.1, tf.ones([2, *SHAPE])
    hidden = np.tanh(5 * 0.1 * np.tanh(12 * 0.1 + 0.1) + 0.1)
    np.testing.assert_allclose(network.apply(network.unflatten(theta), x), 0.5 * hidden + 0.1, rtol=1e-5)


def test_sequences_come_as_they_are(file):
    config = configured(f"{file}:dense", sequences=True)
    network = build_network(config, (3, 4, 1), Classes(3))
    theta, x = network.initial(np.array([1, 2])), tf.random.stateless_normal([2, 3, 4, 1], [0, 1])
    plain = build(f"{file}:dense")
    assert network.example_shape == (3, 4)
    np.testing.assert_array_equal(
        network.apply(network.unflatten(theta), x), plain.apply(plain.unflatten(theta), x[..., 0])
    )
    for shape in ((3, 4, 2), (4,)):
        with pytest.raises(UserError, match=r"--sequences is for x \[N, T, D\]"):
            build_network(config, shape, Classes(3))


def test_a_module_on_the_path_is_a_network(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    assert build("my_net:dense").num_parameters == build(f"{file}:dense").num_parameters
    assert "my_net" not in sys.modules  # it is the copy, or what will be the copy, that is used


@pytest.mark.parametrize(
    ("name", "flags", "what"),
    [
        ("no_axis_s", {}, r"with 2 draws of its weights at once it raises .*\[S, N, ...\]"),
        ("mixes", {}, "its outputs are not those of each"),
        ("wrong_outputs", {}, r"outputs have the shape \[3, 5\] for 3 examples: these data need \[3, 3\]"),
        ("needs", {}, "needs the argument 'depth': give --architecture_args=depth=VALUE"),
        ("dense", {"architecture_args": "size=3"}, "--architecture_args may give depth, width, activation, not size"),
        ("dense", {"architecture_args": "depth"}, "must be name=value"),
        ("dense", {"architecture_args": "depth='"}, "must be name=value"),
        ("dense", {"architecture_args": "depth='a'"}, "raises TypeError"),
        ("other", {}, r"must be my_net\(net, x\)"),
        ("nothing", {}, "has no function 'nothing'; its functions are dense, no_axis_s"),
    ],
)
def test_what_is_refused(file, name, flags, what):
    with pytest.raises(UserError, match=what) as caught:
        build(f"{file}:{name}", **flags)
    assert str(caught.value).startswith("--architecture")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_or_broken(tmp_path):
    for place in (f"{tmp_path}/gone.py:net", f"{tmp_path}/gone.keras", "no.such_module:net"):
        with pytest.raises(UserError, match=r"there is no file|finds no module"):
            build(place)
    (tmp_path / "broken.py").write_text("def net(:")
    with pytest.raises(UserError, match=r"importing .*broken.py raises SyntaxError"):
        build(f"{tmp_path}/broken.py:net")
    with pytest.raises(UserError, match=r"--architecture_args=depth=3 is of --architecture=FILE:FUNCTION"):
        resolve(architecture="fc", architecture_args="depth=3")


def test_a_run_uses_its_copy_and_says_that_the_file_has_changed(file, tmp_path, capsys):
    config = configured(f"{file}:dense", run=str(tmp_path / "run"))
    config.folder.mkdir()
    own.code_of(config).keep_copy()
    before = own.code_of(config).checksum()
    assert records.read_json(config.folder / "network.json")["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    own_code.say_change(own.code_of(config), is_root=True)
    assert not capsys.readouterr().err
    file.write_text(NETWORKS.replace("width=8", "width=9"))
    own.code_of(config).keep_copy()  # the copy stays
    assert own.code_of(config).checksum() == before
    assert build(f"{file}:dense", run=str(config.folder)).num_parameters == 13 * 8 + 9 * 3
    assert build(f"{file}:dense").num_parameters == 13 * 9 + 10 * 3
    own_code.say_change(own.code_of(config), is_root=True)
    assert f"{file} has changed since the run began" in capsys.readouterr().err
    file.unlink()
    assert build(f"{file}:dense", run=str(config.folder)).num_parameters == 13 * 8 + 9 * 3
    assert not own.code_of(config).change_note()


def test_ranks_compare_the_checksum_of_the_file(file, monkeypatch):
    """What `train` hands to the comparison of the ranks has it, and no file of a network of the registry."""
    compared = []
    monkeypatch.setattr(train.cluster, "check_agreement", lambda ranks, facts, host: compared.append(facts))
    for architecture in (f"{file}:dense", "fc"):
        train.connect(configured(architecture, threads=1))
    assert compared[0]["file of the network"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "file of the network" not in compared[1]


def test_the_flagfile_names_the_file_in_full(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    config = rundir.with_full_paths(configured("my_net.py:dense", architecture_args="depth=2"))
    assert config.network.architecture == f"{file}:dense"
    assert config.run.folder == "runs/digits_dense_vi_flipout"
    again = resolve(**from_flagfile(to_flagfile(config), file))
    assert again.network == config.network
    in_place = rundir.with_full_paths(configured("saved.keras"))
    assert in_place.network.architecture == f"{file.parent}/saved.keras"
    assert rundir.with_full_paths(configured("a.module:net")).network.architecture == "a.module:net"


@pytest.mark.parallel
@running.needs_horovodrun
def test_a_keras_model_on_two_ranks_is_that_of_one_rank(tmp_path):
    """By ivon, with gradient blocks: equal weights to the bit; then it goes on, and predicts from its copy."""
    file = tmp_path / "zoo.py"
    file.write_text((running.TESTS / "models" / "keras_zoo.py").read_text())
    train = (
        "train", f"--architecture={file}:resnet", "--architecture_args=norm=batch", "--method=ivon", "--steps=4",
        "--gradient_blocks=2", "--lr_scaling=none", "--eval_draws=2", "--threads=1", "--deterministic",
    )  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    running.all_succeed(tmp_path / "a", [*train, "--batch_size=32", f"--run={one}"])
    half = [*train, "--batch_size=16"]
    running.all_succeed(tmp_path / "b", [*half, f"--run={two}"], ["predict", f"--run={two}", "--num_draws=2"], ranks=2)
    shas = [running.read_json(run)["weights_sha256"] for run in (one, two)]
    assert shas[0] == shas[1]
    file.unlink()
    more = ["predict", f"--run={one}", "--num_draws=2", "--threads=1"]
    running.all_succeed(tmp_path / "c", more, ["train", f"--run={one}", "--steps=6"])
    assert running.read_json(one)["steps"] == 6
    found = [np.load(run / "predictive.npz")["probs_NC"] for run in (one, two)]
    np.testing.assert_allclose(*found, atol=1e-6)
