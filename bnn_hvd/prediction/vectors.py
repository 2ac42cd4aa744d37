"""What `predict` writes for targets with several columns, in their units.

Legend: S draws, N examples, M out-of-distribution examples (at the end of a name), D columns, Q quantiles.
"""

from typing import Any

import numpy as np

from bnn_hvd.config import PredictConfig
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.metrics import conformal, detection, fidelity, normal_mixtures, regression
from bnn_hvd.metrics.normal_mixtures import Mixtures
from bnn_hvd.prediction import statistics
from bnn_hvd.prediction.predictor import Found, Predictor, Result
from bnn_hvd.targets import has_label

PARTS = {"total": "predictive_entropy_N", "aleatoric": "expected_entropy_N", "epistemic": "mutual_information_N"}
OF_LABELS = ("y_ND", "pit_ND", "nll_ND", "crps_ND", "nll_N", "region_level_N")  # arrays that need all targets
SCORED = (*OF_LABELS[1:], "mean_ND")
COMPARED = ("mean_ND", "epistemic_std_ND")  # with --reference
LOUD = 25.0  # SNR


def predict(predictor: Predictor, arrays: Arrays, config: PredictConfig) -> Result:
    """Return the arrays of predictive.npz and the content of uncertainty.json, on every rank.

    Quantiles are of the predictive distribution of each column, that is, of new observations. The statistics over the
    means of the draws, without the noise, are called `_of_means`.
    """
    wanted = statistics.Wanted.of(config)

    def reduce(draws: Mixtures, at: slice) -> Found:
        found = wanted.statistics(draws.means_of_draws()).items()
        named = {statistics.key(f"{name}_of_means", "ND"): values for name, values in found}
        if wanted.quantiles:
            columns = range(arrays.y_test.shape[1])
            each = [regression.quantiles(draws.column(d), wanted.quantiles) for d in columns]
            named[statistics.key("quantiles", "ND")] = np.stack(each, axis=-1)
        if config.coverage:
            levels = conformal.central_levels(config.coverage)
            each = [regression.quantiles(draws.column(d), levels).T for d in range(arrays.y_test.shape[1])]
            named["central_quantiles_NBD"] = np.stack(each, axis=-1)
        # Blocks are joined along their first axis, which is that of the examples.
        named = {name: np.moveaxis(v, 0, 1) if name.endswith("QND") else v for name, v in named.items()}
        return normal_mixtures.score_examples(draws, arrays.y_test[at], at.start) | named

    found = predictor.reduce_mixtures_of_columns(arrays.x_test, config.num_draws, reduce)
    found = {name: np.moveaxis(v, 1, 0) if name.endswith("QND") else v for name, v in found.items()}
    found, report = score(found | {"y_ND": arrays.y_test}, arrays)
    report |= {f"{part}_uncertainty": float(found[name].mean()) for part, name in PARTS.items()}
    for part in PARTS:
        spread_D = np.sqrt(np.mean(found[f"{part}_std_ND"] ** 2, axis=0))
        report |= {f"{part}_std_{name}": float(std) for name, std in zip(arrays.target_names, spread_D, strict=True)}
    own = {"target_names": np.array(arrays.target_names), **arrays.facts_test}
    unseen = {name: uncertainties(predictor, x, config) for name, x in arrays.unseen.items()}
    if unseen:
        report["unseen"] = {name: separation(found, its) for name, its in unseen.items()}
    named = {
        f"{name}_{array.replace('_N', '_M', 1)}": its[array] for name, its in unseen.items() for array in PARTS.values()
    }
    return found | named | own | wanted.labels(), report


def score(found: Found, arrays: Arrays) -> Result:
    """Return the arrays that there are, and the scores of the examples with all targets; without any, no scores."""
    known_N = has_label(arrays.y_test).all(axis=1)
    if not known_N.any():
        return {name: values for name, values in found.items() if name not in OF_LABELS}, {"num_labelled": 0}
    scored = {name: found[name][known_N] for name in SCORED}
    scores = normal_mixtures.summary(scored, arrays.y_test[known_N], arrays.target_names)
    return found, scores | {"num_labelled": int(known_N.sum())}


def uncertainties(predictor: Predictor, x: np.ndarray, config: PredictConfig) -> Found:
    """Return the uncertainties of examples without targets, by name."""

    def reduce(draws: Mixtures, at: slice) -> Found:
        found = normal_mixtures.uncertainties(draws, at.start)
        return {name: found[name] for name in PARTS.values()}

    return predictor.reduce_mixtures_of_columns(x, config.num_draws, reduce)


def predict_ood(predictor: Predictor, ood: Arrays, config: PredictConfig, test: Found) -> Result:
    """Return the arrays of out-of-distribution data, and how well uncertainty separates them from the test part."""
    found = predictor.reduce_mixtures_of_columns(
        ood.x_test, config.num_draws,
        lambda draws, at: normal_mixtures.score_examples(draws, ood.y_test[at], at.start),
    )  # fmt: skip
    separated = separation(test, found)
    found, scores = score(found, ood)
    arrays = {f"ood_{name.replace('_N', '_M', 1)}": values for name, values in found.items() if name != "values_NMD"}
    return arrays, scores | separated


def separation(test: Found, ood: Found) -> dict[str, float]:
    """Return how well uncertainty separates out-of-distribution data."""
    names = {"entropy": PARTS["total"], "mutual_information": PARTS["epistemic"]}
    of_test, of_ood = ({name: part[array] for name, array in names.items()} for part in (test, ood))
    return detection.measures(of_test, of_ood)


def compare(found: Found, reference: Found) -> dict[str, float]:
    """Return how far the means and the epistemic variances are from a reference's, in standard deviations of it."""
    scale_D = reference["mean_ND"].std(axis=0)
    variances = (np.mean((part["epistemic_std_ND"] / scale_D) ** 2, axis=-1) for part in (found, reference))
    return {
        "rms_difference_of_means": regression.rmse(found["mean_ND"] / scale_D, reference["mean_ND"] / scale_D),
        **fidelity.compare_epistemic(*variances),
    }


def compare_exact(found: Found, exact: Found) -> Result:
    """Return the exact posteriors for predictive.npz, and how far the predictions are from them, by column.

    js_NAME: median Jensen-Shannon divergence over the events, in nats. std_ratio_NAME: median over the events with an
    SNR above LOUD, predicted over exact; std_close_NAME: the fraction of them where it is within 25 % of 1.
    """
    event_E, exact_EMD = exact["event_E"], exact["exact_values_EMD"]
    values_EMD, loud_E = found["values_NMD"][event_E], exact["snr_E"] > LOUD
    report: dict[str, Any] = {"num_events": len(event_E), "num_loud": int(loud_E.sum())}
    divergences = []
    for d, name in enumerate(found["target_names"]):
        divergence_E = [
            fidelity.jensen_shannon(ours_M, theirs_M)
            for ours_M, theirs_M in zip(values_EMD[..., d], exact_EMD[..., d], strict=True)
        ]
        ratio_E = found["total_std_ND"][event_E, d][loud_E] / exact_EMD[loud_E, :, d].std(axis=1)
        report[f"js_{name}"] = float(np.median(divergence_E))
        if len(ratio_E):
            report[f"std_ratio_{name}"] = float(np.median(ratio_E))
            report[f"std_close_{name}"] = float(np.mean(np.abs(ratio_E - 1) <= 0.25))
        divergences.append(divergence_E)
    named = {
        "exact_event_E": event_E, "exact_values_EMD": exact_EMD, "exact_js_ED": np.transpose(divergences),
        "exact_snr_E": exact["snr_E"],
    }  # fmt: skip
    return named, report


def text(report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints."""
    shown = ("nll", "region_coverage", "rmse_", "crps_", "coverage_90_")
    lines = [f"{name:32} {value:.4f}" for name, value in report.items() if name.startswith(shown)]
    lines += [f"{name:32} {report[name]:.4f} nats" for name in report if name.endswith("_uncertainty")]
    lines += [f"{'exact ' + name:32} {value:.4f}" for name, value in report.get("exact", {}).items()]
    for name, scores in report.get("unseen", {}).items():
        lines += [f"{name + ' ' + key:32} {value:.4f}" for key, value in scores.items()]
    ood = report.get("ood", {})
    return lines + [f"ood {name:28} {value:.4f}" for name, value in ood.items() if name.startswith(detection.NAMES)]
