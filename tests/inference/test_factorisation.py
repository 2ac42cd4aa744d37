"""Matrix factorisation with the latents of each user on one rank: likelihood and gradient against numpy, several
ranks against one, and predictions from the ring of draws.

Legend: M chains, U users, I items, D factors.
"""

import numpy as np
import pytest
import tensorflow as tf
from oracles import run_ranks

from bnn_hvd import seeds
from bnn_hvd.config import resolve
from bnn_hvd.data import ratings, shards
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.draw_ring import spread
from bnn_hvd.inference.likelihoods import Bernoulli
from bnn_hvd.inference.method import Draws
from bnn_hvd.models.build import build_network
from bnn_hvd.targets import ImplicitRatings

CHAINS, USERS, ITEMS, FACTORS = 2, 11, 7, 3
STEPS = 5
RANDOM = np.random.default_rng(0)
Y = RANDOM.integers(-1, 2, size=[USERS, ITEMS]).astype(np.int8)
FLAGS = {
    "dataset": "synthetic_ratings", "num_users": USERS, "num_items": ITEMS, "num_factors": FACTORS,
    "num_chains": CHAINS, "steps": STEPS, "hmc_burn_in_steps": 2, "hmc_leapfrog_steps": 4, "hmc_step_size": 0.02,
    "prior_scale": 1.3, "factor_scale": 0.6,
}  # fmt: skip
CONFIG = resolve(**FLAGS)


def make(cluster=None, config=CONFIG):
    net = build_network(config, (1,), ImplicitRatings(ITEMS))
    return build_method(config, net, ImplicitRatings(ITEMS), USERS, cluster or Solo())


def batch(cluster, y=Y) -> Batch:
    mine = shards.shard(USERS, cluster.rank, cluster.size)
    return Batch(tf.range(USERS, dtype=tf.float32)[mine, None], tf.constant(y[mine]))


def parts(q):
    """Return U [M, U, D], u [M, U, 1], V^T [M, D, I] and v [M, I] of positions q [M, Q] of one rank."""
    kernel, rest = np.split(q, [FACTORS * ITEMS], 1)
    bias, local = np.split(rest, [ITEMS], 1)
    local = local.reshape(len(q), USERS, FACTORS + 1)
    return local[..., :FACTORS], local[..., FACTORS:], kernel.reshape(-1, FACTORS, ITEMS), bias


def log_odds(q):
    factors, bias, kernel, item_bias = parts(np.asarray(q, np.float64))
    return factors @ kernel + bias + item_bias[:, None]


def log_likelihood(q, y=Y):
    """Return the log likelihood, computed by numpy; entries that are not known are left out."""
    probs = 1 / (1 + np.exp(-log_odds(q)))
    return np.array([np.log(one[y == 1]).sum() + np.log(1 - one[y == -1]).sum() for one in probs])


def random_position():
    return np.random.default_rng(1).normal(size=[CHAINS, FACTORS * ITEMS + ITEMS + USERS * (FACTORS + 1)])


def test_the_parameters_are_where_numpy_looks_for_them():
    net = make().network
    assert [p.name for p in net.parameters] == ["items/kernel", "items/bias"]
    assert [p.name for p in net.local_parameters] == ["users/factors", "users/bias"]
    assert [line.split()[-1] for line in net.table(with_scales=True).splitlines()[-2:]] == ["local", "local"]


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_the_log_likelihood_is_numpys(chunk):
    method = make(config=CONFIG.replace(chunk_examples=chunk))
    q = tf.constant(random_position(), tf.float32)
    target = method.base.posterior.target(batch(Solo()))
    found, in_a_graph = target.evaluate(q), tf.function(lambda q: target.evaluate(q)[:2], autograph=False)(q)
    np.testing.assert_allclose(found.log_likelihood, log_likelihood(q), rtol=1e-5)
    for part, same in zip(found, in_a_graph, strict=False):  # in a graph the last chunk has its own shape
        np.testing.assert_allclose(part, same, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_that_of_the_log_posterior_by_differences():
    q, step = random_position(), 1e-5
    target = make().base.posterior.target(batch(Solo()))
    scales = np.concatenate([
        np.full(FACTORS * ITEMS, 0.6), np.full(ITEMS, 1.3), np.tile([0.6] * FACTORS + [1.3], USERS),
    ])  # fmt: skip

    def log_posterior(q):
        return log_likelihood(q) - (q**2 / (2 * scales**2)).sum(1)

    found = target.evaluate(tf.constant(q, tf.float32)).gradient.numpy()
    by_differences = np.stack(
        [(log_posterior(q + step * e) - log_posterior(q - step * e)) / (2 * step) for e in np.eye(q.shape[1])], 1
    )
    np.testing.assert_allclose(found, by_differences, rtol=2e-4, atol=2e-4)
    constant = (np.log(scales) + 0.5 * np.log(2 * np.pi)).sum()
    np.testing.assert_allclose(
        target.log_prior(tf.constant(q, tf.float32)), -(q**2 / (2 * scales**2)).sum(1) - constant, rtol=1e-5
    )


@pytest.mark.parametrize("chunk", [1, 100])
def test_entries_are_added_up_in_float64_over_the_items_too(chunk):
    """8 users have 6 entries with log odds and losses of 2^20 (1 + 2^-23): in float32 the sum of a user is 0.25 off."""
    odds, y = 2**20 + 0.125, np.zeros([USERS, ITEMS], np.int8)
    y[:8, :6] = -1
    q = np.zeros([1, FACTORS * ITEMS + ITEMS + USERS * (FACTORS + 1)], np.float32)
    parts(q)[1][:] = odds
    target = make(config=CONFIG.replace(chunk_examples=chunk)).base.posterior.target(batch(Solo(), y))
    assert abs(float(np.float32(6 * odds)) - 6 * odds) == 0.25
    np.testing.assert_array_equal(target.evaluate(tf.constant(q)).here, -48 * odds)


def test_what_is_not_known_has_no_loss_and_no_gradient():
    z = tf.constant(RANDOM.normal(size=[USERS, ITEMS]) * 5, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = Bernoulli().nll(z, tf.constant(Y))
    gradient = tape.gradient(loss, z).numpy()
    np.testing.assert_array_equal(gradient[Y == ratings.UNKNOWN], 0)
    probs = 1 / (1 + np.exp(-z.numpy()))
    np.testing.assert_allclose(gradient[Y != 0], (probs - (Y > 0))[Y != 0], atol=1e-6)
    np.testing.assert_array_equal(Bernoulli().nll(z, tf.zeros([USERS, ITEMS], tf.int8)), 0)


def train(cluster):
    """Return the state of this rank after some trajectories, and the scalars of each."""
    method = make(cluster)
    state = method.init(seeds.seed(0, "init"))
    rows = []
    for step in range(STEPS):
        controls = Controls(tf.constant(seeds.seed(0, "chain", step)), tf.constant(0.0), tf.constant(1.0))
        rows.append({name: float(value) for name, value in method.step(state, batch(cluster), controls).items()})
    return state, rows


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_move_as_one(size):
    (whole, rows), *_ = run_ranks(1, train)
    ranks = run_ranks(size, train)
    for state, its_rows in ranks:
        np.testing.assert_allclose(state.params, whole.params, atol=2e-4)
        np.testing.assert_array_equal(state.params, ranks[0][0].params)
        for row, other in zip(its_rows, rows, strict=True):
            for name in ("loss", "nll", "accept", "step_size", "accuracy"):
                assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), name
    for name, axis in whole.example_axis.items():
        slot = name.removeprefix("hmc_").removesuffix(":0")
        of_ranks = np.concatenate([state.slots[slot].numpy() for state, _ in ranks], axis)
        np.testing.assert_allclose(of_ranks, whole.slots[slot], atol=2e-4)
    assert np.abs(whole.slots["local"]).min() > 0
    assert len(np.unique(whole.slots["local"])) == whole.slots["local"].shape.num_elements()


def test_a_draw_is_the_factorisation_at_a_place_of_the_ring():
    method = make()
    state, _ = train(Solo())
    assert state.slots["local_draws"].shape == [CHAINS, 3, USERS, FACTORS + 1]
    draws = Draws(tf.range(4), tf.constant(np.stack([seeds.seed(0, "draw", s) for s in range(4)])))
    users = np.array([[3], [0], [10]], np.float32)
    found = method.draw(state, draws)(tf.constant(users)).numpy()
    order = spread(method.base.ring.rows)
    for s in range(4):
        chain, row = s % CHAINS, order[s // CHAINS]
        place = [state.slots[ring].numpy()[chain, row].reshape(-1) for ring in ("draws", "local_draws")]
        np.testing.assert_allclose(
            found[s], log_odds(np.concatenate(place)[None])[0][users[:, 0].astype(int)], atol=1e-5
        )
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_draws_beyond_all_memory_are_refused():
    config = CONFIG.replace(hmc_kept_draws=10**9)
    with pytest.raises(UserError, match="GiB: keep fewer"):
        make(config=config)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"architecture": "fc"}, "--architecture=fc does not fit --dataset=synthetic_ratings"),
        ({"method": "vi"}, "take --method=hmc, not vi"),
        ({"dataset": "digits", "architecture": "matrix_factorisation"}, "does not fit --dataset=digits"),
    ],
)
def test_what_does_not_go_together_is_refused(flags, said):
    with pytest.raises(UserError, match=said):
        resolve(**{"dataset": "synthetic_ratings", **flags})


def test_another_likelihood_is_refused():
    config = resolve(dataset="synthetic_ratings", likelihood="gaussian")
    with pytest.raises(UserError, match="which have implicit ratings"):
        build_network(config, (1,), ImplicitRatings(ITEMS))


def test_the_accept_test_in_float64_says_the_same():
    target, q = make().base.posterior.target(batch(Solo())), random_position()
    q, end = (
        tf.constant(q, tf.float32),
        tf.constant(q + 0.03 * np.random.default_rng(2).normal(size=q.shape), tf.float32),
    )
    change = target.log_likelihood_change(target.evaluate(q), target.evaluate(end))
    np.testing.assert_allclose(target.log_likelihood_change64(q, end), change, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(change, log_likelihood(end) - log_likelihood(q), rtol=1e-4, atol=1e-4)
