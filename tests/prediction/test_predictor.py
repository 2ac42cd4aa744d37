"""The predictor computes the same from all draws, whatever the blocks and the number of ranks."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import OneOf

from bnn_hvd import seeds
from bnn_hvd.config import resolve
from bnn_hvd.data import standardize
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference.build import build_method
from bnn_hvd.metrics import regression
from bnn_hvd.models.build import build_network
from bnn_hvd.prediction import predictor
from bnn_hvd.prediction.predictor import Predictor
from bnn_hvd.targets import RealValues

EXAMPLES, DRAWS, CHUNK = 1100, 20, predictor.DENSE_PASS.examples
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=[EXAMPLES, 2]).astype(np.float32), RANDOM.normal(size=EXAMPLES).astype(np.float32)
UNITS = RealValues(mean=3.0, scale=2.0)


def make(ranks: Solo, units: RealValues = UNITS) -> Predictor:
    config = resolve(architecture="mlp", hidden=4, num_blocks=1, method="vi", likelihood="heteroscedastic")
    method = build_method(config, build_network(config, (2,), RealValues()), RealValues(), 100, ranks)
    return Predictor(method, method.init(seeds.seed(0, "init")), units, standardize.fit(X, "channel"), ranks, 0)


def sum_over_draws(outputs_SNO):
    return (tf.reduce_sum(outputs_SNO, [0, 2]),)


def test_progress_is_told_after_every_part(monkeypatch):
    monkeypatch.setattr(predictor, "BLOCK_VALUES", 2 * DRAWS * 2 * CHUNK)
    told: list[tuple[int, int]] = []
    model = make(Solo())
    model.on_progress = lambda done, total: told.append((done, total))
    model.reduce_draws(X, DRAWS, lambda draws, _: {"draws": draws}, axis=1)
    assert told == [(1, 3), (2, 3), (3, 3)]  # blocks of two chunks of examples
    told.clear()
    model.means(predictor.Sums(("mean",), sum_over_draws), DRAWS, X)
    assert told == [(1, 2), (2, 2)]  # passes of at most 16 draws


def scores(ranks: Solo, sizes: list[int] | None = None) -> dict[str, np.ndarray]:
    def reduce(draws, at):
        if sizes is not None:
            sizes.append(draws.mean_SN.size)
        quantiles_QN = np.quantile(draws.mean_SN, [0.1, 0.9], axis=0)
        return regression.score_examples(draws, Y[at]) | {"quantiles_QN": quantiles_QN}

    return make(ranks).reduce_mixtures(X, DRAWS, reduce)


def in_bytes(found: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(values).tobytes() for name, values in found.items()}


def test_blocks_are_bounded_and_change_nothing(monkeypatch):
    whole = scores(Solo())
    assert whole["quantiles_QN"].shape == (2, EXAMPLES)
    monkeypatch.setattr(predictor, "BLOCK_VALUES", 2 * DRAWS * 2 * CHUNK)
    sizes: list[int] = []
    assert in_bytes(scores(Solo(), sizes)) == in_bytes(whole)
    assert sizes == [DRAWS * 2 * CHUNK] * 2 + [DRAWS * (EXAMPLES - 4 * CHUNK)]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_find_their_own_examples(size):
    parts = [scores(OneOf(rank, size)) for rank in range(size)]
    joined = {name: np.concatenate([part[name] for part in parts], -1) for name in parts[0]}
    assert in_bytes(joined) == in_bytes(scores(Solo()))


def test_draws_are_in_the_units_of_the_target():
    """The network's outputs are scaled by the target's standard deviation and shifted by its mean."""

    def both(draws, _):
        return {"mean_SN": draws.mean_SN, "scale_SN": draws.scale_SN}

    own, learnt = (make(Solo(), units).reduce_mixtures(X, DRAWS, both) for units in (UNITS, RealValues()))
    np.testing.assert_allclose(own["mean_SN"], 2 * learnt["mean_SN"] + 3, rtol=1e-6)
    np.testing.assert_allclose(own["scale_SN"], 2 * learnt["scale_SN"], rtol=1e-6)
    outputs = make(Solo()).predict_each_draw(X, DRAWS)
    np.testing.assert_allclose(outputs[..., 1], learnt["scale_SN"], rtol=1e-6)
