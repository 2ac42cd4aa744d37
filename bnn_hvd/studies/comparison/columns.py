"""The columns of a comparison's tables. A new score of uncertainty.json is one more line here."""

from collections.abc import Mapping
from typing import Any, NamedTuple

HIGHER, LOWER, NEITHER = 1, -1, 0


class Column(NamedTuple):
    """A score of a run.

    head: of the table. place: the names that lead to it in uncertainty.json, as `ood.auroc_entropy`; of `corrupted`, it
    is the mean over all corruptions and levels. better: which values are. drawn: whether figures have a panel of it.
    """

    head: str
    place: str
    better: int
    drawn: bool = False


# In this order; a table has those that its runs have.
COLUMNS = (
    Column("accuracy", "accuracy", HIGHER, drawn=True),
    Column("RMSE", "rmse", LOWER, drawn=True),
    Column("NLL", "nll", LOWER, drawn=True),
    Column("Brier", "brier", LOWER),
    Column("ECE", "ece", LOWER, drawn=True),
    Column("adaptive ECE", "adaptive_ece", LOWER),
    Column("class-wise ECE", "classwise_ece", LOWER),
    Column("calibrated NLL", "calibrated.after.nll", LOWER),
    Column("calibrated ECE", "calibrated.after.ece", LOWER),
    Column("CRPS", "crps", LOWER, drawn=True),
    Column("calibration error", "calibration_error", LOWER),
    Column("coverage of 90 %", "coverage_90", NEITHER),
    Column("coverage of 95 %", "coverage_95", NEITHER, drawn=True),
    Column("coverage of THR", "conformal.thr.coverage", NEITHER),
    Column("its mean size", "conformal.thr.mean_size", LOWER),
    Column("coverage of RAPS", "conformal.raps.coverage", NEITHER),
    Column("its mean size", "conformal.raps.mean_size", LOWER),
    Column("coverage of CQR", "conformal.cqr.coverage", NEITHER),
    Column("its mean width", "conformal.cqr.mean_width", LOWER),
    Column("AURC", "selective.max_prob.aurc", LOWER),
    Column("AURC", "selective.total_std.aurc", LOWER),
    Column("coverage at 5 % risk", "selective.max_prob.coverage_at_risk", HIGHER),
    Column("accuracy, corrupted", "corrupted.accuracy", HIGHER),
    Column("NLL, corrupted", "corrupted.nll", LOWER, drawn=True),
    Column("ECE, corrupted", "corrupted.ece", LOWER),
    Column("coverage of RAPS, corrupted", "corrupted.coverage_raps", NEITHER),
    Column("OOD AUROC (entropy)", "ood.auroc_entropy", HIGHER, drawn=True),
    Column("OOD AUROC (mutual information)", "ood.auroc_mutual_information", HIGHER),
    Column("OOD FPR95 (entropy)", "ood.fpr95_entropy", LOWER),
    Column("OOD AUPR (entropy)", "ood.aupr_entropy", HIGHER),
    Column("OOD AUROC (epistemic)", "ood.auroc_epistemic", HIGHER, drawn=True),
)


def value(report: Any, place: str) -> float | None:
    """Return the number at a place of uncertainty.json, None if there is none.

    In a list it is the mean over the entries, without those of level 0, the examples as they are.
    """
    if isinstance(report, list):
        found = [value(entry, place) for entry in report if entry.get("level") != 0]
        return None if None in found or not found else sum(filter(None, found)) / len(found)
    name, _, rest = place.partition(".")
    there = report.get(name) if isinstance(report, Mapping) else None
    if rest:
        return value(there, rest)
    return float(there) if isinstance(there, int | float) else None
