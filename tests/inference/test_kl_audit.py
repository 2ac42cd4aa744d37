"""The loss is the nll per example plus kl_weight KL / num_train, in nats, however the work is divided.

The objective must not change when the batch size, the number of ranks, the number of draws or the split of a layer
in two changes; and two ranks with half a batch each must take the same step as one rank with the whole batch.
"""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from oracles import draws, kl_normal, run_ranks

from bnn_hvd import seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.likelihoods import Categorical
from bnn_hvd.inference.optimizers import Optimizer
from bnn_hvd.inference.point import Point
from bnn_hvd.inference.vi import ESTIMATORS, VI
from bnn_hvd.models.network import Network

CATEGORICAL = Categorical()
NUM_TRAIN, FEATURES, CLASSES = 500, 4, 6
CONFIG = compose(optimizer="sgd", momentum=0.0, prior_scale=0.7, init_scale=0.2)
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=[32, FEATURES]).astype(np.float32), RANDOM.integers(CLASSES, size=32).astype(np.int32)


def one_layer(net, x):
    return net.dense("whole", x, CLASSES)


def two_layers(net, x):
    """The function of `one_layer` with the same weights, which two layers share."""
    return tf.concat([net.dense("left", x, 2), net.dense("right", x, CLASSES - 2)], axis=-1)


def hidden_layer(net, x):
    return net.dense("logits", tf.nn.relu(net.dense("hidden", x, 5)), CLASSES)


def make(kind=VI, forward=one_layer, cluster=None, likelihood=CATEGORICAL, estimator="reparam"):
    """Return (method, state) of a network whose weights and biases are all Bayesian."""
    network = Network(forward, (FEATURES,), CLASSES, bayesian_layers="all", bayesian_biases=True)
    config = CONFIG.replace(estimator=estimator)
    method = kind(network, likelihood, NUM_TRAIN, cluster or Solo(), config)
    return method, method.init(seeds.seed(0, "init"))


def step(method, state, x=X, y=Y, learning_rate=0.0, kl_weight=1.0, seed=0, micro_batches=1) -> dict[str, float]:
    controls = Controls(
        tf.constant(seeds.seed(0, "noise", 0, seed)), tf.constant(learning_rate), tf.constant(kl_weight)
    )
    batch = Batch(tf.constant(x), tf.constant(y), micro_batches=micro_batches)
    scalars = method.step(state, batch, controls)
    return {name: float(value) for name, value in scalars.items()}


def kl_of(method, state) -> float:
    return kl_normal(*method.marginals(state), CONFIG.network.prior_scale)


def minus_log_prior(method, state) -> float:
    return -float(np.sum(scipy.stats.norm.logpdf(method.marginals(state)[0], scale=CONFIG.network.prior_scale)))


PENALTIES = [(Point, minus_log_prior, ""), *((VI, kl_of, estimator) for estimator in ESTIMATORS)]


@pytest.mark.parametrize("kl_weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(("kind", "penalty", "estimator"), PENALTIES)
def test_the_loss_is_the_nll_and_the_weighted_penalty_over_num_train(kind, penalty, estimator, kl_weight):
    method, state = make(kind, estimator=estimator)
    found = step(method, state, kl_weight=kl_weight)
    assert found["loss"] == pytest.approx(found["nll"] + kl_weight * penalty(method, state) / NUM_TRAIN, rel=1e-5)
    assert found["loss_here"] == pytest.approx(found["loss"])
    if kind is VI:
        assert found["kl"] == pytest.approx(kl_of(method, state), rel=1e-5)


def test_the_nll_is_per_example_in_nats():
    """With logits of zero it is log 6, whatever the batch size."""
    method, state = make(Point)
    state.params.assign(tf.zeros_like(state.params))
    for batch_size in (1, 5, 32):
        assert step(method, state, X[:batch_size], Y[:batch_size])["nll"] == pytest.approx(np.log(CLASSES), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize(("kind", "penalty", "estimator"), PENALTIES)
def test_the_penalty_does_not_change_with_the_batch_size(kind, penalty, estimator, batch_size):
    method, state = make(kind, estimator=estimator)
    found = step(method, state, X[:batch_size], Y[:batch_size])
    assert found["loss"] - found["nll"] == pytest.approx(penalty(method, state) / NUM_TRAIN, rel=1e-4)


@pytest.mark.parametrize("micro_batches", [2, 8])
@pytest.mark.parametrize(("kind", "penalty", "estimator"), PENALTIES)
def test_the_penalty_is_counted_once_in_several_micro_batches(kind, penalty, estimator, micro_batches):
    method, state = make(kind, estimator=estimator)
    found = step(method, state, micro_batches=micro_batches)
    assert found["loss"] - found["nll"] == pytest.approx(penalty(method, state) / NUM_TRAIN, rel=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(("kind", "penalty", "estimator"), PENALTIES)
def test_the_penalty_does_not_change_with_the_number_of_ranks(kind, penalty, estimator, size):
    def on_rank(cluster):
        method, state = make(kind, cluster=cluster, estimator=estimator)
        found = step(method, state, X[cluster.rank :: size], Y[cluster.rank :: size], seed=cluster.rank)
        return found["loss"] - found["nll"] - penalty(method, state) / NUM_TRAIN

    np.testing.assert_allclose(run_ranks(size, on_rank), 0, atol=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_kl_does_not_change_with_the_noise_and_the_number_of_draws(estimator):
    method, state = make(estimator=estimator)
    first = step(method, state)["kl"]
    method.draw(state, draws(range(7)))(X)
    assert step(method, state, seed=1)["kl"] == first


@pytest.mark.parametrize(("kind", "penalty", "estimator"), PENALTIES)
def test_the_objective_does_not_change_when_a_layer_is_split_in_two(kind, penalty, estimator):
    """The KL would change if it were averaged over a layer's weights, or divided by the number of layers."""
    values = []
    for forward in (one_layer, two_layers):
        method, state = make(kind, forward, estimator=estimator)
        log_scales = [np.log(CONFIG.method.options.init_scale)] * (
            state.params.shape[0] - method.network.num_parameters
        )
        state.params.assign(np.array(log_scales + [0.1] * method.network.num_parameters, np.float32))
        values.append(step(method, state))
    assert values[0]["loss"] - values[0]["nll"] == pytest.approx(values[1]["loss"] - values[1]["nll"], rel=1e-5)
    if kind is Point:
        assert values[0]["loss"] == pytest.approx(values[1]["loss"], rel=1e-6)
    else:
        assert values[0]["kl"] == pytest.approx(values[1]["kl"], rel=1e-6)


class Recorder(Optimizer):
    """An optimizer that keeps the gradient, and changes nothing."""

    def slots(self, params):
        return {}

    def apply(self, params, slots, gradient, controls, step):
        self.gradient = gradient.numpy()
        return {}


def gradient(method, state, **arguments) -> np.ndarray:
    """Return the gradient that a step gives to the optimizer."""
    method.optimizer = Recorder()
    step(method, state, **arguments)
    return method.optimizer.gradient


class Flat(Categorical):
    """A likelihood that does not depend on the weights."""

    def nll(self, outputs, y_N):
        return tf.zeros([len(y_N)]) * outputs[:, 0]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_gradient_of_the_kl_is_counted_once_on_any_number_of_ranks(estimator, size):
    """If it were reduced twice, or summed, it would grow with the number of ranks."""

    def on_rank(cluster):
        method, state = make(cluster=cluster, likelihood=Flat(), estimator=estimator)
        loc, scale = (values.astype(np.float64) for values in method.marginals(state))
        exact = np.concatenate([scale**2 / CONFIG.network.prior_scale**2 - 1, loc / CONFIG.network.prior_scale**2])
        return gradient(method, state, kl_weight=0.5, seed=cluster.rank) - 0.5 * exact / NUM_TRAIN

    for difference in run_ranks(size, on_rank):
        np.testing.assert_allclose(difference, 0, atol=1e-6)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("kind", [Point, VI])
@pytest.mark.parametrize("forward", [one_layer, hidden_layer])
def test_ranks_with_parts_of_a_batch_make_the_step_of_one_rank_with_the_whole(kind, forward, size):
    """All ranks and examples share the noise. If gradients were not averaged, the weights of the ranks would differ."""

    def on_rank(cluster):
        method, state = make(kind, forward, cluster=cluster)
        return gradient(method, state, x=X[cluster.rank :: cluster.size], y=Y[cluster.rank :: cluster.size])

    (whole,) = run_ranks(1, on_rank)
    assert np.abs(whole).max() > 0.01
    for part in run_ranks(size, on_rank):
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_ranks_with_noise_of_their_own_keep_equal_weights_and_report_the_mean_loss(estimator):
    def on_rank(cluster):
        method, state = make(forward=hidden_layer, cluster=cluster, estimator=estimator)
        mine = slice(8 * cluster.rank, 8 * cluster.rank + 8)
        rows = [step(method, state, X[mine], Y[mine], 0.1, seed=10 * cluster.rank + t) for t in range(3)]
        return state.params.numpy().tobytes(), rows

    results = run_ranks(4, on_rank)
    assert len({params for params, _ in results}) == 1
    for rows in zip(*(rows for _, rows in results), strict=True):
        assert len({row["loss_here"] for row in rows}) == 4  # each rank has its own data and noise
        assert {row["loss"] for row in rows} == {rows[0]["loss"]}
        assert rows[0]["loss"] == pytest.approx(np.mean([row["loss_here"] for row in rows]), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("micro_batches", [2, 4])
def test_micro_batches_make_the_step_of_their_whole_batch_with_one_exchange(monkeypatch, micro_batches, size):
    """Without noise. On two ranks each has half of the batch, and the gradient is averaged over the ranks once."""
    method, whole = make(Point, hidden_layer)
    scalars = step(method, whole, learning_rate=0.5)

    def on_rank(cluster):
        exchanges, mean = [], cluster.mean
        monkeypatch.setattr(cluster, "mean", lambda tensors, name: exchanges.append(name) or mean(tensors, name))
        method, state = make(Point, hidden_layer, cluster=cluster)
        mine = slice(cluster.rank, None, size)
        found = step(method, state, X[mine], Y[mine], learning_rate=0.5, micro_batches=micro_batches)
        return state.params.numpy(), found, len(exchanges)

    for params, found, exchanges in run_ranks(size, on_rank):
        np.testing.assert_allclose(params, whole.params, rtol=1e-5, atol=1e-6)
        assert found["loss"] == pytest.approx(scalars["loss"], rel=1e-5)
        assert exchanges == (size > 1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_micro_batch_has_noise_of_its_own(estimator):
    """Four equal micro-batches with the same noise would have the loss of one of them."""
    method, state = make(estimator=estimator)
    alone = step(method, state, X[:8], Y[:8])
    found = step(method, state, np.repeat(X[:8], 4, 0), np.repeat(Y[:8], 4, 0), micro_batches=4)
    assert abs(found["nll"] - alone["nll"]) > 1e-3
