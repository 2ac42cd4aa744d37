"""How well an uncertainty tells out-of-distribution examples from those of the test part, by scikit-learn.

scikit-learn is imported when it is needed: it takes a second.
"""

from collections.abc import Mapping

import numpy as np

from bnn_hvd.metrics.classification import mean_over_labels

TPR = 0.95
NAMES = ("auroc", "fpr95", "aupr")  # how those of the measures begin


def auroc(scores_in: np.ndarray, scores_out: np.ndarray) -> float:
    """Return the probability that a score of `scores_out` exceeds one of `scores_in`; ties count half.

    It is the area under the ROC curve: 0.5 is guessing, 1 is perfect. NaN if a score is.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_labelled(scores_in, scores_out))) if _finite(scores_in, scores_out) else float("nan")


def fpr95(scores_in: np.ndarray, scores_out: np.ndarray) -> float:
    """Return the fraction of out-of-distribution examples that pass where 95 % of the others do, or more by ties.

    The positives are the in-distribution examples, as in the literature (Liang, Li & Srikant 2018). 0 is perfect.
    """
    if not _finite(scores_in, scores_out):
        return float("nan")
    limit = np.quantile(scores_in, TPR, method="inverted_cdf")
    return float(np.mean(np.asarray(scores_out) <= limit))


def aupr(scores_in: np.ndarray, scores_out: np.ndarray) -> float:
    """Return the average precision with out-of-distribution examples as the positives (Hendrycks & Gimpel 2017).

    That of guessing is their fraction.
    """
    from sklearn.metrics import average_precision_score

    if not _finite(scores_in, scores_out):
        return float("nan")
    return float(average_precision_score(*_labelled(scores_in, scores_out)))


def roc(scores_in: np.ndarray, scores_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fractions of in-distribution and of out-of-distribution examples above each threshold."""
    from sklearn.metrics import roc_curve

    flagged_in, flagged_out, _ = roc_curve(*_labelled(scores_in, scores_out))
    return flagged_in, flagged_out


def measures(test: Mapping[str, np.ndarray], ood: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return each measure of each uncertainty, as auroc_entropy. One that is 0 everywhere separates nothing.

    Where examples have several labels, their uncertainty is the mean over these.
    """
    test, ood = ({name: mean_over_labels(values) for name, values in part.items()} for part in (test, ood))
    names = [name for name in test if test[name].any() or ood[name].any()]
    return {f"{of.__name__}_{name}": of(test[name], ood[name]) for of in (auroc, fpr95, aupr) for name in names}


def _labelled(scores_in: np.ndarray, scores_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    is_out = np.concatenate([np.zeros(len(scores_in), int), np.ones(len(scores_out), int)])
    return is_out, np.concatenate([scores_in, scores_out])


def _finite(*scores: np.ndarray) -> bool:
    return all(bool(np.isfinite(each).all()) for each in scores)
