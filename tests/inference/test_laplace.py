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
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.laplace import Laplace, output_hessian
from bnn_hvd.inference.likelihoods import Categorical, Gaussian
from bnn_hvd.models.build import build_network
from bnn_hvd.models.network import Network
from bnn_hvd.targets import RealValues

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=[24, 3]).astype(np.float32), RANDOM.integers(3, size=24).astype(np.int32)
PRIOR, NUM_TRAIN = 0.7, 30  # 6 examples are never seen: they count as the mean of the others
STRUCTURES = ["full", "kron"]


def network(hidden: int = 4) -> Network:
    return Network(lambda net, x: net.dense("out", tf.nn.relu(net.dense("hidden", x, hidden)), 3), (3,), 3)


THETA = network().initial(seeds.seed(0, "init")) * 2.0


def make(structure, cluster=None, hidden=4, **flags) -> Laplace:
    config = compose(method="laplace", laplace_structure=structure, prior_scale=PRIOR, **flags)
    return Laplace(network(hidden), Categorical(), NUM_TRAIN, cluster or Solo(), config)


def after_an_epoch(method, rank=0, ranks=1):
    """Return the state after an epoch in batches of 4, which go to the ranks in turn."""
    state = method.init(seeds.seed(1, "init"))
    state.params.assign(THETA)
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
def test_draws_have_the_covariance_of_the_curvature(structure):
    """The logits are linear in the last layer: for features f they are [f, 1] W."""
    method = make(structure)
    state = after_an_epoch(method)
    weights, precision = by_hand(method, state, structure)
    logits = method.draw(state, draws(range(4000)))(tf.constant(X[:2])).numpy().reshape(4000, 6)
    w = method.network.slices(state.params.numpy())
    h = np.maximum(X[:2] @ w["hidden/kernel"].reshape(3, 4) + w["hidden/bias"], 0)
    linear = np.kron(np.hstack([h, np.ones([2, 1])]), np.eye(3))  # from W to the logits of both examples
    z = covariance_z_scores(logits, linear @ weights, linear @ np.linalg.inv(precision) @ linear.T)
    assert np.abs(z).max() < RARE


def test_the_full_curvature_is_the_sum_over_examples():
    method = make("full")
    state = after_an_epoch(method)
    _, precision = by_hand(method, state, "full")
    expected = (precision - np.eye(15) / PRIOR**2) / NUM_TRAIN
    np.testing.assert_allclose(state.slots["full"], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_ranks_share_the_sums(structure):
    """A step also leaves the parameters as they are in the point run."""
    alone = after_an_epoch(make(structure))

    def on_rank(ranks):
        return after_an_epoch(make(structure, ranks), ranks.rank, ranks.size)

    for state in run_ranks(2, on_rank):
        np.testing.assert_array_equal(state.params, THETA)
        for name, slot in state.slots.items():
            np.testing.assert_allclose(slot, alone.slots[name], rtol=1e-3, atol=1e-5)


def test_the_hessian_of_softmax():
    logits = RANDOM.normal(size=[5, 3])
    probs = scipy.special.softmax(logits, axis=1)
    expected = [np.diag(p) - np.outer(p, p) for p in probs]
    found = output_hessian(Categorical(), tf.constant(logits, tf.float32), tf.constant(Y[:5]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_prior_is_tempered_as_in_the_point_run(structure):
    """The mode is that of nll - kl_weight log prior / num_train: its prior has the precision kl_weight / prior^2."""
    tempered, usual = make(structure, kl_weight=0.25), make(structure)
    narrow = make(structure)
    narrow.prior_precision = 0.25 / PRIOR**2
    state = after_an_epoch(usual)
    found, expected, other = (
        method.draw(state, draws(range(8)))(tf.constant(X[:5])).numpy() for method in (tempered, narrow, usual)
    )
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - other).max() > 0.01


@pytest.mark.parametrize("structure", STRUCTURES)
def test_with_learnt_noise_it_is_linear_regression_with_that_noise(structure):
    """y ~ N(w [x, 1], noise^2), the noise fixed at its value in the point run: the posterior has a closed form."""
    config = compose(method="laplace", architecture="linear", dataset="sine", laplace_structure=structure)
    made = build_network(config, (3,), RealValues())
    method = Laplace(made, Gaussian(), 24, Solo(), config)
    state = method.init(seeds.seed(0, "init"))
    theta = {"logits/kernel": [0.3, -0.5, 0.2], "logits/bias": [0.1], "noise/value": [np.log(0.4)]}
    state.params.assign(np.concatenate([theta[p.name] for p in made.parameters]))
    y = RANDOM.normal(size=24).astype(np.float32)
    method.step(state, Batch(tf.constant(X), tf.constant(y)), Controls(tf.zeros([2], tf.int64), 0.1, 1.0))
    phi = np.hstack([X, np.ones([24, 1])])
    precision = phi.T @ phi / 0.4**2 + np.eye(4)
    outputs = method.draw(state, draws(range(4000)))(tf.constant(X[:5])).numpy()
    np.testing.assert_allclose(outputs[..., 1], np.log(0.4), rtol=1e-5)
    mean = phi[:5] @ [0.3, -0.5, 0.2, 0.1]
    z = covariance_z_scores(outputs[..., 0], mean, phi[:5] @ np.linalg.inv(precision) @ phi[:5].T)
    assert np.abs(z).max() < RARE


@pytest.mark.parametrize(
    ("hidden", "structure", "way_out"),
    [(2000, "full", "--laplace_structure=kron"), (3000, "kron", "smaller layer before its output")],
)
def test_a_large_layer_is_refused_with_the_way_out(hidden, structure, way_out):
    with pytest.raises(UserError, match=way_out):
        make(structure, hidden=hidden)
