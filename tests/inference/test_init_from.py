"""--init_from: methods that start where a point run ended."""

import numpy as np
import point_runs
import pytest

from bnn_hvd import config, seeds
from bnn_hvd.config import compose
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.vi import VIOptions
from bnn_hvd.models.build import build_network
from bnn_hvd.targets import Classes, RealValues

METHODS = CHOICES["method"]
STARTING = [name for name in METHODS.rows if "init_from" in METHODS.options_of(name).takes]


THREE = Classes(3)


def make(method: str, shape=(6,), target=THREE, **flags):
    made = compose(**{"architecture": "fc", "method": method, "bayesian_layers": "hidden"} | flags)
    built = build_method(made, build_network(made, shape, target), target, 10, Solo())
    seed = seeds.seed(1, "init")
    return built, built.init(np.stack([seed, seed]) if method == "hmc" else seed)  # hmc always has chains


@pytest.fixture
def point_run(tmp_path):
    return point_runs.write(tmp_path / "point", (6,), Classes(3))


@pytest.mark.parametrize("name", STARTING)
def test_every_method_that_takes_it_starts_from_the_trained_weights(point_run, name):
    run, theta = point_run
    method, state = make(name, init_from=str(run))
    loc = method.marginals(state)[0]
    np.testing.assert_allclose(loc, np.broadcast_to(theta, loc.shape), rtol=1e-6)


@pytest.mark.parametrize("particles", [0, 2])
def test_the_means_are_the_trained_weights_and_the_scales_are_not(point_run, particles):
    run, theta = point_run
    method, state = make("vi", init_from=str(run), num_particles=particles)
    loc, scale = method.marginals(state)
    np.testing.assert_array_equal(loc, np.broadcast_to(theta, loc.shape))
    np.testing.assert_allclose(scale, VIOptions().init_scale, rtol=1e-5)


def test_parameters_are_found_by_name(point_run):
    """With other Bayesian layers the flat vector has another order."""
    run, theta = point_run
    trained = build_network(compose(architecture="fc", method="point"), (6,), Classes(3)).slices(theta)
    method, state = make("vi", bayesian_layers="all", init_from=str(run))
    found = method.network.slices(method.marginals(state)[0])
    assert list(found) != list(trained)
    for name, values in trained.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_no_run_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="is not a run directory"):
        make("vi", init_from=str(tmp_path))


@pytest.mark.parametrize(
    ("there", "here", "message"),
    [
        ({"method": "ivon"}, {}, "is a run with --method=ivon: give a run of one point network"),
        ({"num_particles": 2}, {}, "is a run of 2 particles with --method=point: give a run of one point network"),
        ({"standardize": "pixel"}, {}, "--standardize=pixel, and this run has channel: give --standardize=pixel"),
        ({"architecture": "linear"}, {}, "has other parameters than this network, as dense1/kernel: none there, 6x64"),
        ({}, {"shape": (5,)}, "as dense1/kernel: 6x64 there, 5x64 here; give the --architecture of that run, and data"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(tmp_path, there, here, message):
    run, _ = point_runs.write(tmp_path / "point", (6,), THREE, flags=there)
    with pytest.raises(UserError) as error:
        make("vi", init_from=str(run), **here)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"standardize": "pixel"}, "give --standardize=pixel"),
        ({"kl_weight": 0.1}, "was trained with --kl_weight=0.1, and this run has 1.0: give --kl_weight=0.1"),
        ({"prior_scale": 2.0}, "give --prior_scale=2.0"),
        ({"noise_scale": 0.5}, "give --noise_scale=0.5"),
        ({"standardize_targets": False}, "give --standardize_targets=false"),
        ({"dataset": "table", "target": "y"}, "give --dataset=table"),
        ({"method": "mc_dropout"}, "is a run with --method=mc_dropout"),
    ],
)
def test_laplace_refuses_the_mode_of_another_posterior(tmp_path, there, message):
    sine = {"dataset": "sine", "architecture": "fc"}
    run, _ = point_runs.write(tmp_path / "point", (1,), RealValues(), flags=sine | there)
    with pytest.raises(UserError, match=message):
        make("laplace", (1,), RealValues(), init_from=str(run), **sine)


def test_scales_relative_to_trained_weights_need_them():
    with pytest.raises(UserError, match=r"--init_relative_scale=0\.1 needs --init_from"):
        config.resolve(method="vi", init_relative_scale=0.1)
