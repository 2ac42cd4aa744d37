"""The Pareto k-hat of a run: its log likelihoods against an oracle, on any number of ranks, and when it is left out."""

import numpy as np
import pytest
import scipy.stats
from oracles import OneOf

from bnn_hvd import noise, seeds
from bnn_hvd.config import PredictConfig, compose, make
from bnn_hvd.data import standardize
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.metrics import pareto
from bnn_hvd.models.build import build_network
from bnn_hvd.prediction import posterior_check
from bnn_hvd.prediction.posterior_check import PosteriorCheck, check_lines
from bnn_hvd.prediction.predict import check_kind
from bnn_hvd.prediction.predictor import Predictor
from bnn_hvd.targets import RealValues

EXAMPLES, DRAWS = 600, 20  # two chunks and a padded one; a pass and a shorter one
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=[EXAMPLES, 2]).astype(np.float32), RANDOM.normal(size=EXAMPLES).astype(np.float32)
UNITS = RealValues(mean=3.0, scale=2.0)


def check(
    ranks: Solo | None = None, train: tuple[np.ndarray, np.ndarray] | None = (X, Y), shape: tuple[int, ...] = (2,),
    **flags: object,
) -> PosteriorCheck:  # fmt: skip
    config = compose(**{
        "architecture": "mlp", "hidden": 4, "num_blocks": 1, "method": "vi", "likelihood": "gaussian",
        "noise_scale": 0.7, "bayesian_layers": "all", "bayesian_biases": True,
    } | flags)  # fmt: skip
    method = build_method(config, build_network(config, shape, UNITS), UNITS, EXAMPLES, Solo())
    state = method.init(seeds.seed(0, "init"))
    fitted = standardize.fit(X, "channel" if shape == (2,) else "none")
    return PosteriorCheck(Predictor(method, state, UNITS, fitted, ranks or Solo(), 0), config, train)


def test_the_log_likelihood_of_a_draw_is_that_of_all_training_examples():
    """The oracle has the density of y in its own units; float32 outputs are good to 1e-6 of 600 terms of up to 10."""
    checked = check()
    draws = checked.predictor.reduce_mixtures(X, DRAWS, lambda draws, _: {"mean_SN": draws.mean_SN})["mean_SN"]
    expected = scipy.stats.norm(draws, 0.7).logpdf(Y).sum(1)
    np.testing.assert_allclose(checked.log_likelihoods(DRAWS), expected, rtol=1e-5)


@pytest.mark.parametrize("size", [2, 5])
def test_it_is_the_sum_over_the_ranks(size):
    """With five ranks, two have no examples."""
    parts = [check(OneOf(rank, size)).log_likelihoods(DRAWS) for rank in range(size)]
    np.testing.assert_allclose(np.sum(parts, 0), check().log_likelihoods(DRAWS), rtol=1e-13)


def linear(**flags: object) -> PosteriorCheck:
    """Return the check of a linear regression with one weight and the exact posterior, orthogonal to the bias."""
    x = np.tile([1.0, -1.0], EXAMPLES // 2).astype(np.float32)[:, None]
    checked = check(train=(x, 0.3 * x[:, 0] + Y / 9), shape=(1,), architecture="linear", prior_scale=2.0, **flags)
    kl_weight = checked.trained.schedule.kl_weight
    precision = EXAMPLES * (UNITS.scale / 0.7) ** 2 / kl_weight  # of the data, in units of the target's scale
    y = UNITS.standardized(checked.train[1])
    sums = np.array([y @ x[:, 0], y.sum()]) * (UNITS.scale / 0.7) ** 2 / kl_weight
    total = precision + 1 / 2.0**2
    checked.predictor.state.params.assign(np.concatenate([np.full(2, -0.5 * np.log(total)), sums / total]))
    return checked


@pytest.mark.parametrize("kl_weight", [1.0, 0.1])
def test_the_exact_posterior_has_equal_ratios(kl_weight):
    """Equal up to rounding: float32 outputs leave 1e-4 nats. With kl_weight, it is the tempered posterior."""
    found = linear(kl_weight=kl_weight).report(100)
    assert found is not None
    assert found["pareto_k"] < 0.5
    assert found["log_ratio_std"] < 2e-3
    assert found["meaning"].startswith("good")
    tempered = "" if kl_weight == 1 else ", tempered by --kl_weight=0.1"
    assert found["target"] == f"the posterior of 2 weights{tempered}"


def test_a_posterior_that_is_too_narrow_is_seen():
    """Two variances that are a tenth of the exact ones: 0.45 |eps|^2 nats more of log ratio, whose k-hat is known."""
    checked = linear()
    params = checked.predictor.state.params
    params.assign(params - np.array([1, 1, 0, 0], np.float32) * 0.5 * np.log(10))
    eps_SB = np.stack([noise.normals(seeds.seed(0, "draw", draw), 2).numpy() for draw in range(100)])
    expected = 0.45 * (eps_SB.astype(np.float64) ** 2).sum(1)
    log_ratios = checked.log_ratios(100)
    np.testing.assert_allclose(log_ratios - log_ratios.mean(), expected - expected.mean(), atol=5e-3)
    found = checked.report(100)
    assert found is not None
    assert found["num_draws"] == 100
    assert found["pareto_k"] == pytest.approx(pareto.k_hat(expected), abs=0.05)
    assert found["log_ratio_std"] == pytest.approx(expected.std(), rel=0.01)
    assert found["meaning"] == pareto.meaning(found["pareto_k"])


@pytest.mark.filterwarnings("error")
def test_a_run_that_diverged_has_no_k_hat(monkeypatch):
    for odd in (np.nan, np.inf, -np.inf):
        monkeypatch.setattr(PosteriorCheck, "log_ratios", lambda self, num_draws, odd=odd: np.full(num_draws, odd))
        found = check().report(50)
        assert found is not None
        assert np.isnan([found["pareto_k"], found["log_ratio_std"]]).all()
        assert found["meaning"].startswith("not defined")


def test_deterministic_weights_are_given():
    found = check(bayesian_layers="hidden", bayesian_biases=False).report(50)
    assert found is not None
    assert "weights given the other" in found["target"]


@pytest.mark.parametrize("method", ["point", "swag", "mc_dropout", "ensemble"])
def test_a_method_without_a_density_has_no_check(method):
    assert check(method=method).report(None) is None


def test_it_can_be_switched_off():
    assert check().report(0) is None
    assert check_lines({}) == []
    with pytest.raises(UserError, match="--check_draws=24 is too few"):
        check_kind(make(PredictConfig, run="runs/a", check_draws=pareto.FEWEST_DRAWS - 1), UNITS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_particles": 2}, "ensemble"),
        ({"kl_weight": 0.0}, "no posterior"),
        ({"train": None}, "another training part"),
        ({"augment": "crop_flip"}, "augmented"),
        ({"architecture": "resnet20", "normalization": "batch", "shape": (8, 8, 1)}, "batch norm"),
    ],
)
def test_why_it_is_left_out(changes, reason):
    found = check(**changes).report(50)
    assert found is not None
    assert found.keys() == {"left_out"}
    assert reason in found["left_out"]
    assert check_lines({"posterior_check": found}) == [f"{'pareto_k':24} left out: {found['left_out']}"]


def test_what_takes_long_is_left_out_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(posterior_check, "MOST_WORK", 1e3)
    found = check().report(None)
    assert found is not None
    assert "--check_draws=1000" in found["left_out"]
    asked = check().report(50)
    assert asked is not None
    assert asked["num_draws"] == 50
    (line,) = check_lines({"posterior_check": asked})
    assert line.startswith("pareto_k ")
    assert line.endswith(asked["meaning"])
