"""Predictions of a target with several columns: their scores, calibration and uncertainty; numpy and scipy only.

Every draw predicts a mixture of Normals with full covariances; the prediction is the mixture of all draws with equal
weights. Its covariance is the sum of two parts (law of total covariance): aleatoric, the mean of the draws'
covariances, and epistemic, the covariance of their means.

In nats, the total uncertainty is the entropy of the prediction, its aleatoric part is the mean entropy of the draws,
and the epistemic part is the mutual information of the target and the weights. They are means over values drawn from
the prediction.

Legend: S draws, K components, N examples, D columns, M drawn values. Everything is computed in float64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from bnn_hvd.metrics import regression

NUM_DRAWN = 1024  # values drawn from each prediction, of which the first are used for entropies and regions
NUM_SCORED = 256
LEVELS = (0.5, 0.9)


class Mixtures(NamedTuple):
    """Log weights, means, and the lower triangular factor A of the precision A^T A of each component."""

    log_weight_SNK: np.ndarray
    mean_SNKD: np.ndarray
    factor_SNKDD: np.ndarray

    @classmethod
    def unpacked(cls, packed_SNO: np.ndarray, mean_D: Sequence[float], scale_D: Sequence[float]) -> "Mixtures":
        """Return mixtures in the units of the target from those that a likelihood predicts: [S, N, K (1 + D + D^2)].

        mean_D, scale_D: the moments with which the columns were standardised.
        """
        columns, scales = len(scale_D), np.asarray(scale_D, np.float64)
        parts = packed_SNO.astype(np.float64).reshape(*packed_SNO.shape[:2], -1, 1 + columns + columns**2)
        factor = parts[..., 1 + columns :].reshape(*parts.shape[:3], columns, columns)
        return cls(parts[..., 0], parts[..., 1 : 1 + columns] * scales + mean_D, factor / scales)

    def of_example(self, n: int) -> "Mixtures":
        """Return the mixture of one example, N = 1."""
        return Mixtures(*(part[:, n : n + 1] for part in self))

    def means_of_draws(self) -> np.ndarray:
        """Return the mean of each draw's mixture [S, N, D]."""
        return np.einsum("snk,snkd->snd", np.exp(self.log_weight_SNK), self.mean_SNKD)

    def column(self, d: int) -> regression.Mixture:
        """Return the marginal mixture of a column, of S K Normals."""
        samples, examples, components = self.log_weight_SNK.shape
        scale_SNK = np.sqrt(self.covariance()[..., d, d])
        flat = (
            np.moveaxis(part, 2, 1).reshape(samples * components, examples)
            for part in (self.mean_SNKD[..., d], scale_SNK, np.exp(self.log_weight_SNK) / samples)
        )
        return regression.Mixture(*flat)

    def covariance(self) -> np.ndarray:
        """Return the covariance of each component [S, N, K, D, D]."""
        inverse = np.linalg.inv(self.factor_SNKDD)
        return inverse @ np.swapaxes(inverse, -1, -2)


def moments(draws: Mixtures) -> dict[str, np.ndarray]:
    """Return by name the mean [N, D] and the aleatoric and epistemic covariance [N, D, D] of the prediction, and the
    standard deviations of its columns [N, D]."""
    weight_SNK = np.exp(draws.log_weight_SNK)
    mean_SND = draws.means_of_draws()
    from_mean = draws.mean_SNKD - mean_SND[:, :, None]
    within = draws.covariance() + from_mean[..., :, None] * from_mean[..., None, :]
    aleatoric_NDD = np.einsum("snk,snkde->nde", weight_SNK, within) / len(weight_SNK)
    mean_ND = mean_SND.mean(axis=0)
    epistemic_NDD = np.einsum("snd,sne->nde", mean_SND - mean_ND, mean_SND - mean_ND) / len(weight_SNK)
    variances = {"aleatoric": aleatoric_NDD, "epistemic": epistemic_NDD, "total": aleatoric_NDD + epistemic_NDD}
    return {
        "mean_ND": mean_ND, "aleatoric_covariance_NDD": aleatoric_NDD, "epistemic_covariance_NDD": epistemic_NDD,
        **{f"{part}_std_ND": np.sqrt(np.einsum("ndd->nd", covariance)) for part, covariance in variances.items()},
    }  # fmt: skip


def log_densities(draws: Mixtures, y_ND: np.ndarray) -> np.ndarray:
    """Return the log density of each draw at y [S, N], in nats."""
    z = np.einsum("snkde,snke->snkd", draws.factor_SNKDD, y_ND[None, :, None] - draws.mean_SNKD)
    log_determinant = np.log(np.einsum("snkdd->snkd", draws.factor_SNKDD)).sum(-1)
    log_norm = 0.5 * y_ND.shape[-1] * np.log(2 * np.pi)
    return special.logsumexp(draws.log_weight_SNK + log_determinant - 0.5 * (z**2).sum(-1), axis=-1) - log_norm


def nll(draws: Mixtures, y_ND: np.ndarray) -> np.ndarray:
    """Return the negative log density of the prediction, of all columns together [N], in nats."""
    log_density_SN = log_densities(draws, y_ND)
    return np.log(len(log_density_SN)) - special.logsumexp(log_density_SN, axis=0)


def draw_values(draws: Mixtures, count: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return values [M, D] that are drawn from the prediction of the only example, and the draw of each [M]."""
    random = np.random.default_rng(seed)
    samples, _, components = draws.log_weight_SNK.shape
    from_draw_M = random.permutation(np.arange(count) % samples)  # each draw has its share of the values
    ends = np.exp(draws.log_weight_SNK[:, 0]).cumsum(axis=-1)
    component_M = np.minimum((random.random(count)[:, None] > ends[from_draw_M]).sum(-1), components - 1)
    inverse = np.linalg.inv(draws.factor_SNKDD[from_draw_M, 0, component_M])
    eps_MD = random.standard_normal([count, inverse.shape[-1]])
    return draws.mean_SNKD[from_draw_M, 0, component_M] + np.einsum("mde,me->md", inverse, eps_MD), from_draw_M


def uncertainties(draws: Mixtures, first: int) -> dict[str, np.ndarray]:
    """Return by name the `moments` of each example, and its total, aleatoric and epistemic uncertainty in nats [N].

    values_NMD are drawn from the predictions, log_density_NM are the log densities of the first of them.

    first: the number of the first example of the block, from which the seeds of the drawn values follow.
    """
    drawn = [_from_drawn_values(draws.of_example(n), first + n) for n in range(draws.mean_SNKD.shape[1])]
    values_NMD, log_density_NM, of_draws_N = (np.stack(parts) for parts in zip(*drawn, strict=True))
    total_N = -log_density_NM.mean(axis=-1)
    return moments(draws) | {
        "values_NMD": values_NMD, "log_density_NM": log_density_NM, "predictive_entropy_N": total_N,
        "expected_entropy_N": of_draws_N, "mutual_information_N": np.maximum(total_N - of_draws_N, 0.0),
    }  # fmt: skip


def _from_drawn_values(draws: Mixtures, index: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return values drawn from the prediction of an example, the log density of some, and the draws' mean entropy."""
    values_MD, from_draw_M = draw_values(draws, NUM_DRAWN, [index, NUM_DRAWN])
    scored_MD, from_draw_M = values_MD[:NUM_SCORED], from_draw_M[:NUM_SCORED]
    repeated = Mixtures(*(np.broadcast_to(part, [len(part), len(scored_MD), *part.shape[2:]]) for part in draws))
    log_density_SM = log_densities(repeated, scored_MD)
    log_density_M = special.logsumexp(log_density_SM, axis=0) - np.log(len(log_density_SM))
    entropy_of_draws = -log_density_SM[from_draw_M, np.arange(len(from_draw_M))].mean()
    return values_MD.astype(np.float32), log_density_M, entropy_of_draws


def score_examples(draws: Mixtures, y_ND: np.ndarray, first: int) -> dict[str, np.ndarray]:
    """Return the uncertainties and scores of each example, by name, each [N, ...]; blocks can be concatenated.

    region_level_N is the probability of the smallest region of highest density with y in it: if predictions are
    calibrated, it is uniform on [0, 1]. first: as in `uncertainties`.
    """
    columns = [draws.column(d) for d in range(y_ND.shape[1])]
    by_column = {
        name: np.stack([score(column, y_ND[:, d]) for d, column in enumerate(columns)], axis=-1)
        for name, score in (("pit_ND", regression.pit), ("nll_ND", regression.nll), ("crps_ND", regression.crps))
    }
    found, nll_N = uncertainties(draws, first), nll(draws, y_ND)
    level_N = np.mean(found.pop("log_density_NM") > -nll_N[:, None], axis=-1)
    level_N[np.isnan(nll_N)] = np.nan  # an example without a target
    return found | by_column | {"nll_N": nll_N, "region_level_N": level_N}


def summary(found: dict[str, np.ndarray], y_ND: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Return the scores that every evaluation reports, by name, from the output of `score_examples`.

    names: of the columns. nll and the coverages of regions are of all columns together; the others end in the name of a
    column.
    """
    scores = {"nll": float(found["nll_N"].mean())}
    scores |= {f"region_coverage_{round(100 * q)}": float(np.mean(found["region_level_N"] <= q)) for q in LEVELS}
    for d, name in enumerate(names):
        pit_N = found["pit_ND"][:, d]
        scores |= {
            f"rmse_{name}": regression.rmse(found["mean_ND"][:, d], y_ND[:, d]),
            f"nll_{name}": float(found["nll_ND"][:, d].mean()),
            f"crps_{name}": float(found["crps_ND"][:, d].mean()),
            f"calibration_error_{name}": regression.calibration_error(pit_N),
            **{f"coverage_{round(100 * q)}_{name}": regression.coverage(pit_N, q) for q in regression.LEVELS},
        }
    return scores
