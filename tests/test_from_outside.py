"""A method and a network from outside of the package each need one file and one row of the registry, no more."""

import pytest
import running

from bnn_hvd import cli, config, registry

METHOD = '''
"""Normals of one given width around the maximum a posteriori."""

import dataclasses

import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import MethodOptions
from bnn_hvd.inference import optimizers
from bnn_hvd.inference.descent import descend
from bnn_hvd.inference.map_loss import MaximumAPosteriori
from bnn_hvd.inference.method import Method, State


@dataclasses.dataclass(frozen=True)
class BlurOptions(MethodOptions):
    prunable = True
    blur_scale: float = flag(0.1, "--method=blur", "standard deviation of every weight", minimum=0, below=1)


class Blur(Method):
    def __init__(self, network, likelihood, num_train, cluster, config):
        self.network, self.likelihood, self.cluster = network, likelihood, cluster
        self.scale = config.method.options_as(BlurOptions).blur_scale
        self.objective = MaximumAPosteriori(network, likelihood, num_train, config.network.prior_scale)
        self.optimizer = optimizers.make(config.schedule, network.num_noise_scales)

    def init(self, seed):
        return State(self.network.initial(seed), self.optimizer)

    def step(self, state, batch, controls):
        return descend(state, batch, controls, self.objective.scalars, self.optimizer, self.cluster)

    def draw(self, state, draws):
        eps_SP = noise.normals(draws.seeds, self.network.num_parameters)
        weights = self.network.unflatten(tf.convert_to_tensor(state.params) + self.scale * eps_SP)
        return lambda x: self.network.apply(weights, x)

    def num_reduced(self):
        return self.network.num_parameters
'''

NETWORK = '''
"""One wide layer."""

import dataclasses

import tensorflow as tf

from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import NetworkOptions


@dataclasses.dataclass(frozen=True)
class WideOptions(NetworkOptions):
    wide_units: int = flag(8, "network", "units of the layer", minimum=1)


def wide(net, x, *, wide_units):
    return net.dense("logits", tf.nn.relu(net.dense("hidden", net.flatten(x), wide_units)), net.num_outputs)
'''


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Put the two files on Python's path and their rows in the registry."""
    (tmp_path / "blur_method.py").write_text(METHOD)
    (tmp_path / "wide_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    blur = registry.Row("blur_method:Blur", "Normals of one given width", "blur_method:BlurOptions")
    wide = registry.Row("wide_network:wide", "one wide layer", "wide_network:WideOptions")
    monkeypatch.setitem(registry.METHODS, "blur", blur)
    monkeypatch.setitem(registry.NETWORKS, "wide", wide)


@pytest.mark.usefixtures("rows")
def test_their_flags_are_in_the_help_and_in_the_configuration():
    text = cli.help_text("train")
    assert "  --blur_scale=0.1" in text.splitlines()
    assert "  --wide_units=8" in text.splitlines()
    assert "Normals of one given width" in text
    made = config.resolve(method="blur", architecture="wide", wide_units=5)
    assert made.network.model == "wide_blur"
    assert "--wide_units=5\n" in config.to_flagfile(made)
    assert "--estimator" not in config.to_flagfile(made)  # it is an option of another method


@pytest.mark.usefixtures("rows")
def test_a_bad_value_of_their_flags_is_refused(capsys):
    assert cli.main(["bnn_hvd", "train", "--method=blur", "--blur_scale=1.5"]) == 2
    assert "--blur_scale=1.5 must be below 1" in capsys.readouterr().err


SCRIPT = """
import sys

from bnn_hvd import cli, registry

registry.METHODS["blur"] = registry.Row("blur_method:Blur", "Normals of one given width", "blur_method:BlurOptions")
registry.NETWORKS["wide"] = registry.Row("wide_network:wide", "one wide layer", "wide_network:WideOptions")
train = ["bnn_hvd", "train", "--method=blur", "--architecture=wide", "--wide_units=6", "--run={run}", "--threads=1"]
assert cli.main([*train, "--num_particles={particles}", "--steps=4"]) == 0
assert cli.main([*train, "--num_particles={particles}", "--steps=8"]) == 0
sys.exit(cli.main(["bnn_hvd", "predict", "--run={run}", "--num_draws=8", "--threads=1"]))
"""


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("particles", "ranks"), [(0, 1), pytest.param(2, 2, marks=[pytest.mark.parallel, running.needs_horovodrun])]
)
def test_they_train_go_on_and_predict(tmp_path, particles, ranks):
    run, script = tmp_path / "run", tmp_path / "script.py"
    script.write_text(SCRIPT.format(run=run, particles=particles))
    job = running.python(script, ranks=ranks)
    assert job.returncode == 0, job.stderr
    summary = running.read_json(run)
    assert (summary["steps"], summary["num_weights"], summary["ranks"]) == (8, 64 * 6 + 6 + 6 * 10 + 10, ranks)
    report = running.read_json(run, "uncertainty.json")
    assert report["num_draws"] == 8
    assert report["epistemic_uncertainty"] > 1e-3  # the draws differ
