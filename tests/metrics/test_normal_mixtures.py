"""Scores of predictions with several columns: identities, closed forms, and data from the prediction itself."""

import numpy as np
import scipy.stats

from bnn_hvd.metrics import normal_mixtures, regression
from bnn_hvd.metrics.normal_mixtures import Mixtures

RANDOM = np.random.default_rng(1)
DRAWS, COMPONENTS, EXAMPLES, COLUMNS = 5, 3, 40, 2
UNLIKELY = 1e-6  # p-value of a test that fails by chance


def random_mixtures(draws: int, components: int, examples: int) -> Mixtures:
    logits = RANDOM.normal(size=[draws, examples, components])
    factor = np.tril(RANDOM.normal(size=[draws, examples, components, COLUMNS, COLUMNS]), -1)
    factor += np.eye(COLUMNS) * RANDOM.uniform(0.5, 2, size=[draws, examples, components, 1, COLUMNS])
    log_weight = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return Mixtures(log_weight, RANDOM.normal(size=[draws, examples, components, COLUMNS]), factor)


MIXTURES = random_mixtures(DRAWS, COMPONENTS, EXAMPLES)
DRAWN = np.stack([normal_mixtures.draw_values(MIXTURES.of_example(n), 20_000, [n])[0] for n in range(4)])


def test_the_total_covariance_is_that_of_drawn_values():
    found = normal_mixtures.moments(MIXTURES)
    total = found["aleatoric_covariance_NDD"] + found["epistemic_covariance_NDD"]
    for n, values_MD in enumerate(DRAWN):
        z = (values_MD.mean(0) - found["mean_ND"][n]) / values_MD.std(0) * np.sqrt(len(values_MD))
        assert np.abs(z).max() < 6
        np.testing.assert_allclose(np.cov(values_MD.T), total[n], atol=0.1 * np.abs(total[n]).max())
    np.testing.assert_allclose(found["total_std_ND"], np.sqrt(np.einsum("ndd->nd", total)))


def test_the_epistemic_part_is_the_covariance_of_the_draws_means():
    one = random_mixtures(DRAWS, 1, EXAMPLES)
    found = normal_mixtures.moments(one)["epistemic_covariance_NDD"]
    expected = [np.cov(one.mean_SNKD[:, n, 0].T, bias=True) for n in range(EXAMPLES)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_column_is_the_marginal_of_drawn_values():
    """False-fail rate: that of 8 Kolmogorov-Smirnov tests at 1e-6 each."""
    for d in range(COLUMNS):
        column = MIXTURES.column(d)
        np.testing.assert_allclose(column.weights().sum(axis=0), 1)
        for n, values_MD in enumerate(DRAWN):
            one = regression.Mixture(*(np.repeat(part[:, n : n + 1], 20_000, axis=1) for part in column))
            assert scipy.stats.kstest(regression.pit(one, values_MD[:, d]), "uniform").pvalue > UNLIKELY


def test_scores_of_one_normal_are_closed_forms():
    """Entropies within 6 standard errors of the closed form, whose standard deviation per value is sqrt(D / 2)."""
    one = random_mixtures(1, 1, EXAMPLES)
    y_ND = RANDOM.normal(size=[EXAMPLES, COLUMNS])
    found = normal_mixtures.score_examples(one, y_ND, 0)
    normals = [
        scipy.stats.multivariate_normal(one.mean_SNKD[0, n, 0], one.covariance()[0, n, 0]) for n in range(EXAMPLES)
    ]
    np.testing.assert_allclose(found["nll_N"], [-normal.logpdf(y) for normal, y in zip(normals, y_ND, strict=True)])
    z_N = (found["predictive_entropy_N"] - [normal.entropy() for normal in normals]) * np.sqrt(
        2 * normal_mixtures.NUM_SCORED / COLUMNS
    )
    assert np.abs(z_N).max() < 6
    assert not found["mutual_information_N"].any()  # one draw knows of no disagreement
    distance_N = np.einsum("nde,ne->nd", one.factor_SNKDD[0, :, 0], y_ND - one.mean_SNKD[0, :, 0])
    level_N = scipy.stats.chi2(COLUMNS).cdf((distance_N**2).sum(-1))
    z_N = (found["region_level_N"] - level_N) / np.sqrt(
        np.maximum(level_N * (1 - level_N), 1e-3) / normal_mixtures.NUM_SCORED
    )
    assert np.abs(z_N).max() < 6


def test_draws_that_are_certain_and_disagree_have_their_number_as_information():
    """Narrow Normals that are far from each other: the mutual information is ln S, and the epistemic std the spread."""
    mean = np.zeros([DRAWS, 1, 1, COLUMNS])
    mean[:, 0, 0, 0] = 100 * np.arange(DRAWS)
    far = Mixtures(np.zeros([DRAWS, 1, 1]), mean, np.broadcast_to(np.eye(COLUMNS), [DRAWS, 1, 1, COLUMNS, COLUMNS]))
    found = normal_mixtures.score_examples(far, np.zeros([1, COLUMNS]), 0)
    np.testing.assert_allclose(found["mutual_information_N"], np.log(DRAWS), rtol=1e-6)
    np.testing.assert_allclose(found["epistemic_std_ND"][0], [100 * np.std(np.arange(DRAWS)), 0], atol=1e-9)


def test_levels_of_targets_from_the_prediction_are_uniform():
    """False-fail rate: 1e-6. Blocks of examples give what all of them together give."""
    many = random_mixtures(3, 2, 400)
    y_ND = np.stack([normal_mixtures.draw_values(many.of_example(n), 1, [n, 7])[0][0] for n in range(400)])
    found = normal_mixtures.score_examples(many, y_ND, 0)
    for levels in (found["region_level_N"], *found["pit_ND"].T):
        assert scipy.stats.kstest(levels, "uniform").pvalue > UNLIKELY
    later = Mixtures(*(part[:, 390:] for part in many))
    part = normal_mixtures.score_examples(later, y_ND[390:], 390)
    assert all(np.array_equal(part[name], found[name][390:]) for name in part)
    scores = normal_mixtures.summary(found, y_ND, ("a", "b"))
    assert abs(scores["region_coverage_90"] - 0.9) < 6 * np.sqrt(0.09 / 400)
