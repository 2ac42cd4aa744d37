"""vi that starts where a point run ended."""

import numpy as np
import pytest

from bnn_hvd import seeds
from bnn_hvd.config import compose
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.vi import VIOptions
from bnn_hvd.models.network import build_network
from bnn_hvd.run import checkpoint, records
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.targets import Classes


def make(method: str, **flags):
    config = compose(architecture="fc", method=method, estimator="flipout", bayesian_layers="hidden", **flags)
    made = build_method(config, build_network(config, (6,), Classes(3)), Classes(3), 10, Solo())
    return made, made.init(seeds.seed(1 if flags else 0, "init"))


@pytest.fixture
def point_run(tmp_path):
    _, state = make("point")
    (tmp_path / records.CHECKPOINTS).mkdir()
    checkpoint.save(tmp_path / records.CHECKPOINTS, checkpoint.arrays_of(state), Progress(), keep=1)
    return tmp_path, state.params.numpy()


@pytest.mark.parametrize("particles", [0, 2])
def test_the_means_are_the_trained_weights_and_the_scales_are_not(point_run, particles):
    run, theta = point_run
    method, state = make("vi", init_from=str(run), num_particles=particles)
    loc, scale = method.marginals(state)
    np.testing.assert_array_equal(loc, np.broadcast_to(theta, loc.shape))
    np.testing.assert_allclose(scale, VIOptions().init_scale, rtol=1e-5)


def test_no_run_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no readable checkpoint"):
        make("vi", init_from=str(tmp_path))
