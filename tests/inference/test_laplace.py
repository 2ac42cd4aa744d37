"""Last-layer Laplace: its curvature against numpy's, its draws against the covariance that follows from it.

Linear regression has a closed form that Laplace must meet exactly: tests/contract/test_linear_regression.py.
Statistical tests have fixed seeds and bounds of RARE standard errors (8e-11 false fails per number).
"""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from oracles import RARE, covariance_z_scores, draws, run_ranks

from bnn_hvd import seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.laplace import Laplace, output_hessian
from bnn_hvd.inference.likelihoods import Categorical
from bnn_hvd.inference.method import Controls, State
from bnn_hvd.models.network import Network
from bnn_hvd.run import checkpoint, records
from bnn_hvd.run.checkpoint import Progress

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=[24, 3]).astype(np.float32), RANDOM.integers(3, size=24).astype(np.int32)
PRIOR, NUM_TRAIN = 0.7, 30  # 6 examples are never seen: they count as the mean of the others
STRUCTURES = ["full", "kron"]


def network(hidden: int = 4) -> Network:
    return Network(lambda net, x: net.dense("out", tf.nn.relu(net.dense("hidden", x, hidden)), 3), (3,), 3)


@pytest.fixture(scope="module")
def point_run(tmp_path_factory):
    """A run directory with the parameters of an untrained point network."""
    run = tmp_path_factory.mktemp("point")
    state = State(network().initial(seeds.seed(0, "init")) * 2.0)
    (run / records.CHECKPOINTS).mkdir()
    checkpoint.save(run / records.CHECKPOINTS, checkpoint.arrays_of(state), Progress(), keep=1)
    return run


def make(run, structure, cluster=None, hidden=4) -> Laplace:
    config = compose(method="laplace", init_from=str(run), laplace_structure=structure, prior_scale=PRIOR)
    return Laplace(network(hidden), Categorical(), NUM_TRAIN, cluster or Solo(), config)


def after_an_epoch(method, rank=0, ranks=1):
    """Return the state after an epoch in batches of 4, which go to the ranks in turn."""
    state = method.init(seeds.seed(1, "init"))
    for first in range(rank * 4, 24, 4 * ranks):
        batch = Batch(tf.constant(X[first : first + 4]), tf.constant(Y[first : first + 4]))
        method.step(state, batch, Controls(tf.zeros([2], tf.int64), tf.constant(0.1), tf.constant(1.0)))
    return state


def by_hand(method, state, structure):
    """Return the weights of the last layer [(D + 1) C], and their precision, in float64."""
    w = {name: a.astype(np.float64) for name, a in method.network.slices(state.params.numpy()).items()}
    h = np.maximum(X @ w["hidden/kernel"].reshape(3, 4) + w["hidden/bias"], 0)
    probs = scipy.special.softmax(h @ w["out/kernel"].reshape(4, 3) + w["out/bias"], axis=1)
    h = np.hstack([h, np.ones([24, 1])])
    hessians = [np.diag(p) - np.outer(p, p) for p in probs]
    outer = [np.outer(one, one) for one in h]
    if structure == "full":
        curvature = np.mean([np.kron(a, b) for a, b in zip(outer, hessians, strict=True)], 0)
    else:
        curvature = np.kron(np.mean(outer, 0), np.mean(hessians, 0))
    return np.r_[w["out/kernel"], w["out/bias"]], NUM_TRAIN * curvature + np.eye(15) / PRIOR**2


@pytest.mark.parametrize("structure", STRUCTURES)
def test_draws_have_the_covariance_of_the_curvature(structure, point_run):
    """The logits are linear in the last layer: for features f they are [f, 1] W."""
    method = make(point_run, structure)
    state = after_an_epoch(method)
    weights, precision = by_hand(method, state, structure)
    logits = method.draw(state, draws(range(4000)))(tf.constant(X[:2])).numpy().reshape(4000, 6)
    w = method.network.slices(state.params.numpy())
    h = np.maximum(X[:2] @ w["hidden/kernel"].reshape(3, 4) + w["hidden/bias"], 0)
    linear = np.kron(np.hstack([h, np.ones([2, 1])]), np.eye(3))  # from W to the logits of both examples
    z = covariance_z_scores(logits, linear @ weights, linear @ np.linalg.inv(precision) @ linear.T)
    assert np.abs(z).max() < RARE


def test_the_full_curvature_is_the_sum_over_examples(point_run):
    method = make(point_run, "full")
    state = after_an_epoch(method)
    _, precision = by_hand(method, state, "full")
    expected = (precision - np.eye(15) / PRIOR**2) / NUM_TRAIN
    np.testing.assert_allclose(state.slots["full"], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_ranks_share_the_sums(structure, point_run):
    """A step also leaves the parameters as they are in the point run."""
    alone = after_an_epoch(make(point_run, structure))
    trained = checkpoint.read_newest_good(point_run / records.CHECKPOINTS)["params:0"]

    def on_rank(ranks):
        return after_an_epoch(make(point_run, structure, ranks), ranks.rank, ranks.size)

    for state in run_ranks(2, on_rank):
        np.testing.assert_array_equal(state.params, trained)
        for name, slot in state.slots.items():
            np.testing.assert_allclose(slot, alone.slots[name], rtol=1e-3, atol=1e-5)


def test_the_hessian_of_softmax():
    logits = RANDOM.normal(size=[5, 3])
    probs = scipy.special.softmax(logits, axis=1)
    expected = [np.diag(p) - np.outer(p, p) for p in probs]
    found = output_hessian(Categorical(), tf.constant(logits, tf.float32), tf.constant(Y[:5]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_wrong_run_or_a_large_layer_is_refused_with_the_way_out(point_run, tmp_path):
    for run, hidden, structure, way_out in (
        (tmp_path, 4, "full", "no readable checkpoint"),
        (point_run, 5, "full", "--architecture"),
        (point_run, 2000, "full", "--laplace_structure=kron"),
        (point_run, 3000, "kron", "smaller layer before its output"),
    ):
        with pytest.raises(UserError, match=way_out):
            make(run, structure, hidden=hidden).init(seeds.seed(0, "init"))
    with pytest.raises(UserError, match="num_particles"):
        make(point_run, "kron").init(np.stack([seeds.seed(0, "init")] * 2))
