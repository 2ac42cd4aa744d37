"""Members that are trained at once, on any rank and beside any others, are as if trained alone."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import draws

from bnn_hvd import seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.vi import ESTIMATORS
from bnn_hvd.models.build import build_network
from bnn_hvd.targets import Classes

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=[8, 6, 5, 2]).astype(np.float32)
BATCH = Batch(tf.constant(X), tf.constant(RANDOM.integers(3, size=8).astype(np.int32)))
OTHERS = ("point", "ivon", "mc_dropout", "swag")
CASES = [*((method, "flipout") for method in OTHERS), *(("vi", estimator) for estimator in ESTIMATORS)]
CLOSE = {"rtol": 2e-4, "atol": 1e-5}  # matrix products and sums round differently; Adam's first steps have size 1e-3


def trained(
    method: str, estimator: str, members: range | None, steps: int = 5, batch: Batch = BATCH, architecture: str = "conv"
):
    """Return (method, state) after a few steps; members=None: without the axis of members."""
    config = compose(
        architecture=architecture, method=method, estimator=estimator, bayesian_layers="all", bayesian_biases=True,
        swag_rank=2, swag_start_steps=1, swag_every_steps=1, num_particles=0 if members is None else 9,
    )  # fmt: skip
    made = build_method(config, build_network(config, X.shape[1:], Classes(3)), Classes(3), 100, Solo(), members)
    state = made.init(seeds.seed(0, "init"))
    for step in range(steps):
        seed = tf.constant(seeds.seed(0, "noise", 0, step))
        made.step(state, batch, Controls(seed, tf.constant(1e-3), tf.constant(1.0)))
    return made, state


def batches_of(members: range) -> Batch:
    """Return one batch for each member: four examples of BATCH, in an order of its own."""
    orders = np.stack([np.random.default_rng(member).permutation(8)[:4] for member in members])
    return Batch(tf.gather(BATCH.x, orders), tf.gather(BATCH.y, orders), has_members=True)


@pytest.mark.parametrize("architecture", ["conv", "fc", "vgg3", "resnet20"])
def test_members_with_batches_of_their_own_are_as_if_trained_alone(architecture):
    members = range(3)
    _, together = trained("point", "flipout", members, batch=batches_of(members), architecture=architecture)
    for member in members:
        (x,), (y,) = batches_of(members[member:][:1])[:2]
        _, alone = trained("point", "flipout", members[member:][:1], batch=Batch(x, y), architecture=architecture)
        np.testing.assert_allclose(together.params[member], alone.params[0], **CLOSE)


@pytest.mark.parametrize("architecture", ["conv", "fc"])
@pytest.mark.parametrize(("method", "estimator"), CASES[1:])
def test_so_they_are_under_every_method(method, estimator, architecture):
    members = range(1, 3)
    _, together = trained(method, estimator, members, batch=batches_of(members), architecture=architecture)
    (x,), (y,) = batches_of(members[1:])[:2]
    _, alone = trained(method, estimator, members[1:], batch=Batch(x, y), architecture=architecture)
    np.testing.assert_allclose(together.params[1], alone.params[0], **CLOSE)


def test_gradient_blocks_split_the_batch_of_each_member():
    batch = batches_of(range(3))
    for first in range(2):
        block = batch.every(2, tf.constant(first))
        np.testing.assert_array_equal(block.x, batch.x[:, first::2])
        np.testing.assert_array_equal(block.y, batch.y[:, first::2])
        assert block.has_members


@pytest.mark.parametrize(("method", "estimator"), CASES)
def test_an_ensemble_of_one_is_its_method(method, estimator):
    (one, state), (many, states) = (trained(method, estimator, members) for members in (None, range(1)))
    np.testing.assert_allclose(states.params[0], state.params, **CLOSE)
    x, asked = tf.constant(X), draws(range(3))
    np.testing.assert_allclose(many.draw(states, asked)(x)[:1], one.draw(state, asked)(x)[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("method", "estimator"), CASES)
def test_a_member_does_not_depend_on_who_is_beside_it(method, estimator):
    (_, all_three), (_, last) = (trained(method, estimator, members) for members in (range(3), range(2, 3)))
    np.testing.assert_allclose(last.params[0], all_three.params[2], **CLOSE)


def test_members_differ_from_the_start():
    _, state = trained("point", "flipout", range(3), steps=0)
    correlation = np.corrcoef(state.params.numpy())
    assert np.abs(correlation - np.eye(3)).max() < 0.2  # with 2,000 weights it is 0.02 by chance


def test_draws_are_dealt_to_the_members_in_turn():
    ensemble, state = trained("point", "flipout", range(3))
    member, alone = trained("point", "flipout", None, steps=0)
    assert ensemble.num_draws(300) == 3  # a point network has one draw, and there are three
    outputs_SNC = ensemble.draw(state, draws(range(5)))(tf.constant(X))
    for s in range(5):
        alone.params.assign(state.params[s % 3])
        np.testing.assert_allclose(
            outputs_SNC[s], member.draw(alone, draws([0]))(tf.constant(X))[0], rtol=1e-4, atol=1e-4
        )


def test_equally_many_draws_of_each_member():
    ensemble, _ = trained("vi", "reparam", range(3), steps=0)
    assert [ensemble.num_draws(requested) for requested in (1, 3, 4, 300)] == [3, 3, 6, 300]


def test_the_reported_loss_is_the_members_mean():
    config = compose(architecture="fc", method="point", num_particles=3)
    made = build_method(config, build_network(config, X.shape[1:], Classes(3)), Classes(3), 100, Solo())
    alone = build_method(config.replace(num_particles=0), made.network, Classes(3), 100, Solo())
    controls = Controls(tf.constant(seeds.seed(0, "noise", 0, 0)), tf.constant(0.0), tf.constant(1.0))
    state, one = made.init(seeds.seed(0, "init")), alone.init(seeds.seed(0, "init"))
    losses = []
    for theta in state.params.numpy():
        one.params.assign(theta)
        losses.append(float(alone.step(one, BATCH, controls)["loss"]))
    assert float(made.step(state, BATCH, controls)["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)
