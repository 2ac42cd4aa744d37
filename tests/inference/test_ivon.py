"""The steps of IVON against the paper's algorithm, line by line in float64, and against the published package.

The likelihood is a quadratic of the network's output at one example, so that the gradient is known in closed form.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from oracles import run_ranks

from bnn_hvd import noise, seeds
from bnn_hvd.config import compose
from bnn_hvd.data.pipeline import Batch
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.controls import Controls
from bnn_hvd.inference.ivon import Ivon
from bnn_hvd.inference.likelihoods import Categorical
from bnn_hvd.inference.mean_field import LEAST_KL_WEIGHT
from bnn_hvd.models.network import Network

STEPS, NUM_TRAIN, PRIOR, RATE = 30, 40, 0.7, 0.3
RANDOM = np.random.default_rng(1)
CENTRE, CURVATURE = RANDOM.normal(size=5), np.array([0.1, 0.5, 1.0, 3.0, 20.0])
FLAGS = {"hess_init": 0.4, "beta1": 0.8, "beta2": 0.95}


class Quadratic(Categorical):
    """0.5 sum_o curvature_o (theta_o - centre_o)^2: the outputs are the weights."""

    def nll(self, outputs, y_N):
        return 0.5 * tf.reduce_sum(tf.constant(CURVATURE, tf.float32) * (outputs - CENTRE.astype(np.float32)) ** 2, -1)


def make(cluster=None) -> Ivon:
    network = Network(lambda net, x: net.dense("only", x, 5), (0,), 5)  # no inputs: theta [5] is the bias
    config = compose(method="ivon", prior_scale=PRIOR, **{f"ivon_{name}": value for name, value in FLAGS.items()})
    return Ivon(network, Quadratic(), NUM_TRAIN, cluster or Solo(), config)


def take_steps(method: Ivon, kl_weight: float = 1.0, rank: int = 0, steps: int = STEPS):
    """Return mean, momentum and hess after each step [T, 3, P], and the noise [T, P] of the steps."""
    state = method.init(seeds.seed(0, "init"))
    state.params.assign(np.linspace(-1, 1, 5))
    batch, rows, eps = Batch(tf.zeros([1, 0]), tf.zeros([1], tf.int32)), [], []
    for t in range(steps):
        seed = tf.constant(seeds.seed(0, "noise", rank, t))
        eps.append(noise.normals(seed, 5).numpy())
        method.step(state, batch, Controls(seed, tf.constant(RATE), tf.constant(kl_weight)))
        rows.append([state.params.numpy(), state.slots["momentum"].numpy(), state.slots["hess"].numpy()])
    return np.array(rows), np.array(eps, np.float64)


def problem(eps_TP: np.ndarray) -> dict:
    """Return what ivon_peer.py reads: the problem of `take_steps`, and its noise."""
    flags = FLAGS | {"lr": RATE, "ess": NUM_TRAIN, "weight_decay": 1 / (PRIOR**2 * NUM_TRAIN)}
    return {"mean": np.linspace(-1, 1, 5).tolist(), "curvature": CURVATURE.tolist(), "centre": CENTRE.tolist(),
            "eps": eps_TP.tolist(), "flags": flags}  # fmt: skip


def published(eps_TRP: np.ndarray, kl_weight: float = 1.0) -> np.ndarray:
    """Algorithm 1 of Shen et al. (2024), line by line; R ranks have one Monte Carlo sample each."""
    lam = NUM_TRAIN / kl_weight
    delta, (h0, beta1, beta2) = 1 / (PRIOR**2 * lam), FLAGS.values()
    m, h, g, sigma, rows = np.linspace(-1, 1, 5), np.full(5, h0), np.zeros(5), np.sqrt(1 / (lam * (h0 + delta))), []
    alpha = (h0 + delta) * RATE
    for t, eps_RP in enumerate(eps_TRP, start=1):
        theta_RP = m + sigma * eps_RP
        g_hat_RP = CURVATURE * (theta_RP - CENTRE)
        g_hat = g_hat_RP.mean(0)
        h_hat = (g_hat_RP * (theta_RP - m) / sigma**2).mean(0)
        g = beta1 * g + (1 - beta1) * g_hat
        h = beta2 * h + (1 - beta2) * h_hat + 0.5 * (1 - beta2) ** 2 * (h - h_hat) ** 2 / (h + delta)
        g_bar = g / (1 - beta1**t)
        m = m - alpha * (g_bar + delta * m) / (h + delta)
        sigma = 1 / np.sqrt(lam * (h + delta))
        rows.append([m, g, h])
    return np.array(rows)


@pytest.mark.parametrize("kl_weight", [1.0, 0.1])
def test_steps_are_those_of_the_paper(kl_weight):
    found, eps = take_steps(make(), kl_weight)
    np.testing.assert_allclose(found, published(eps[:, None], kl_weight), rtol=1e-3, atol=1e-5)


def test_steps_are_those_of_the_package():
    """The package's own steps on the same problem with the same noise, kept with how they were made (ivon_peer.py)."""
    kept = json.loads(Path(__file__).with_name("ivon_peer.json").read_text())
    found, eps = take_steps(make())
    given = problem(eps)
    assert kept["given"]["flags"] == pytest.approx(given.pop("flags"))  # recorded for this problem
    for name, values in given.items():
        np.testing.assert_allclose(values, kept["given"][name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, kept["steps"], rtol=1e-3, atol=1e-5)


def test_ranks_average_the_curvature_of_their_own_noise():
    """With the product of averages instead of the average of products, hess would be wrong from the first step."""
    results = run_ranks(3, lambda ranks: take_steps(make(ranks), rank=ranks.rank, steps=5))
    for found, _ in results:
        np.testing.assert_array_equal(found, results[0][0])
    eps_TRP = np.stack([eps for _, eps in results], axis=1)
    np.testing.assert_allclose(results[0][0], published(eps_TRP), rtol=1e-3, atol=1e-5)


def test_without_the_kl_the_steps_stay_finite():
    found, eps = take_steps(make(), kl_weight=0.0)
    np.testing.assert_allclose(found, published(eps[:, None], LEAST_KL_WEIGHT), rtol=1e-2, atol=1e-4)


def test_members_step_as_if_alone():
    method = make()
    pair = np.stack([seeds.seed(0, "init", member) for member in range(2)])
    noises = np.stack([seeds.seed(0, "noise", member) for member in range(2)])
    batch = Batch(tf.zeros([1, 0]), tf.zeros([1], tf.int32))

    def after_two_steps(init, seed):
        state = method.init(init)
        for _ in range(2):
            method.step(state, batch, Controls(tf.constant(seed), tf.constant(RATE), tf.constant(1.0)))
        return state.params.numpy()

    together = after_two_steps(pair, noises)
    for member in range(2):
        np.testing.assert_allclose(together[member], after_two_steps(pair[member], noises[member]), rtol=1e-5)


if __name__ == "__main__":
    print(json.dumps(problem(take_steps(make())[1])))
