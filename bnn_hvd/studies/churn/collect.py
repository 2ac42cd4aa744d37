"""The rows of a churn study, from its run directories.

Legend: K replicas, N examples, C classes, T checkpoints, P parameters, E chosen examples.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.config import ChurnConfig
from bnn_hvd.data import sources
from bnn_hvd.errors import UserError
from bnn_hvd.metrics import classification
from bnn_hvd.run import checkpoint, records
from bnn_hvd.studies.churn import measures
from bnn_hvd.studies.churn.predictions import Test
from bnn_hvd.studies.churn.regimes import Cell

Row = dict[str, Any]


def check_data(cells: list[Cell], config: ChurnConfig) -> None:
    """Check the data before hours of training.

    Raises:
      UserError: the targets are real values, or examples have several labels, or the groups do not fit the test part.
    """
    first = cells[0].jobs[0].config
    arrays = sources.load_configured(first)
    if not arrays.num_classes:
        raise UserError(
            f"churn counts labels that differ, and --dataset={first.data.dataset} has real targets: give one of classes"
        )
    if arrays.y_test.ndim > 1:
        raise UserError(
            f"churn counts examples, and those of --dataset={first.data.dataset} have several labels each: give data "
            "with one"
        )
    read_groups(config.groups, len(arrays.y_test))


def read_groups(path: str, num_test: int) -> np.ndarray | None:
    """Return the user's group of each test example, [N]; None without a path.

    Raises:
      UserError: the file can't be read, or does not hold a whole number for each test example.
    """
    if not path:
        return None
    try:
        group_N = np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"--groups={path} can't be read ({error}): save it by numpy.save") from None
    if not isinstance(group_N, np.ndarray) or group_N.shape != (num_test,) or group_N.dtype.kind not in "iub":
        raise UserError(f"--groups={path} must be whole numbers, one for each of the {num_test} test examples")
    return group_N


def rows(cells: list[Cell], test: Test, group_N: np.ndarray | None) -> list[Row]:
    """Return the rows of churn.json, one per cell."""
    found = [row(cell, test, group_N) for cell in cells]
    for one, cell in zip(found, cells, strict=True):
        partner = next((other for other in cells if _is_partner(other, cell)), None)
        one |= cost(cell, partner)
    return found


def row(cell: Cell, test: Test, group_N: np.ndarray | None) -> Row:
    """Return the row of one cell, without its times."""
    runs = [job.config.run.folder for job in cell.jobs]
    probs_KNC = np.stack([test.probs_NC[run] for run in runs])
    labels_KN, truth_N = probs_KNC.argmax(axis=2), test.labels_N
    entropy_N = classification.entropy(probs_KNC.mean(axis=0))
    epistemic_N = np.mean([test.epistemic_N[run] for run in runs], axis=0)
    of_draws = not cell.jobs[0].config.method.options.single_draw  # a point estimate has no epistemic uncertainty
    return {
        "method": cell.jobs[0].config.method.name, "regime": cell.regime, "learning_rate": cell.learning_rate,
        "deterministic": cell.deterministic, "replicas": len(cell.jobs),
        "ranks": [job.ranks for job in cell.jobs], "threads": [job.config.machine.threads for job in cell.jobs],
        "runs": [job.name for job in cell.jobs],
        **measures.agreement(labels_KN, truth_N),
        "auroc_epistemic": measures.foretold(epistemic_N, labels_KN) if of_draws else None,
        "auroc_entropy": measures.foretold(entropy_N, labels_KN),
        **parting(cell),
        "classes": measures.by_group(labels_KN, truth_N, truth_N, test.arrays.class_names),
        "groups": [] if group_N is None else of_groups(labels_KN, truth_N, group_N),
    }  # fmt: skip


def of_groups(labels_KN: np.ndarray, truth_N: np.ndarray, group_N: np.ndarray) -> list[Row]:
    values, place_N = np.unique(group_N, return_inverse=True)
    return measures.by_group(labels_KN, truth_N, place_N, [str(value) for value in values])


def parting(cell: Cell) -> Row:
    """Return the first step at which the replicas differ, and the distance of their weights.

    The step is that of the first different checksum; the distances are those at the checkpoints.
    """
    lines = [records.read_jsonl(Path(job.config.folder, records.CHECKSUMS)) for job in cell.jobs]
    steps = [line["step"] for line in lines[0]]
    gradient, weights = (
        measures.first_difference(steps, [[line[name] for line in run] for run in lines])
        for name in ("gradient", "weights")
    )
    finals = [records.read_json(Path(job.config.folder, records.SUMMARY))["weights_sha256"] for job in cell.jobs]
    common, weights_KTP = snapshots(cell)
    distance_T = measures.distances(weights_KTP)
    return {
        "bitwise_equal": len(set(finals)) == 1,
        "first_difference_step": min((step for step in (gradient, weights) if step), default=None),
        "first_weights_difference_step": weights,
        "weights_growth": measures.growth(distance_T),
        "weights": {"steps": common, "distance": distance_T},
    }


def snapshots(cell: Cell) -> tuple[list[int], list[list[np.ndarray]]]:
    """Return the steps at which all replicas have a checkpoint, [T], and the parameters there, [K][T][P]."""
    files = [_by_step(job.config.folder / records.CHECKPOINTS) for job in cell.jobs]
    common = sorted(set.intersection(*map(set, files)))
    return common, [[_params(mine[step]) for step in common] for mine in files]


def _by_step(folder: Path) -> dict[int, Path]:
    """Return the checkpoint files of a run by the step in their names."""
    names = ((path, checkpoint.NAME.fullmatch(path.name)) for path in checkpoint.list_newest_first(folder))
    return {int(name["step"]): path for path, name in names if name}


def cost(cell: Cell, partner: Cell | None) -> Row:
    """Return the times of a cell, and their ratios to those of its partner.

    partner: the same cell without determinism, whose runs were trained in turns with these; None if there is none.
    """
    step_ms, wall_s = (_summaries(cell, name) for name in ("step_ms_median", "train_wall_s"))
    found: Row = {"step_ms": _median(step_ms), "train_wall_s": _median(wall_s)}
    pairs = {} if partner is None else {
        "step": zip(step_ms, _summaries(partner, "step_ms_median"), strict=True),
        "training": zip(wall_s, _summaries(partner, "train_wall_s"), strict=True),
    }  # fmt: skip
    ratios = {name: [a / b for a, b in values if a and b] for name, values in pairs.items()}
    return found | {
        "step_time_ratios": ratios.get("step", []), "step_time_ratio": _median(ratios.get("step", [])),
        "training_time_ratio": _median(ratios.get("training", [])),
    }  # fmt: skip


def curves(cells: list[Cell]) -> list[list[Row]]:
    """Return the evaluations of each replica of each cell: epochs, accuracy, and top-5 accuracy if there is one."""
    return [[_curve(job.config.folder) for job in cell.jobs] for cell in cells]


def examples(cells: list[Cell], rows: list[Row], test: Test, count: int) -> dict[str, np.ndarray]:
    """Return the most divergent examples of the cell with the most churn; {} if no label differs in it."""
    most = int(np.argmax([row["churn"] for row in rows]))
    probs_KNC = np.stack([test.probs_NC[job.config.run.folder] for job in cells[most].jobs])
    index_E = measures.most_divergent(probs_KNC, count)
    if not len(index_E):
        return {}
    row = rows[most]
    return {
        "cell": np.array(f"{row['method']}, {row['regime']}, learning rate {row['learning_rate']:g}"),
        "index_E": index_E, "x_EHWC": test.arrays.x_test[index_E], "truth_E": test.labels_N[index_E],
        "labels_KE": probs_KNC.argmax(axis=2)[:, index_E], "class_names": np.array(test.arrays.class_names),
    }  # fmt: skip


def _is_partner(other: Cell, cell: Cell) -> bool:
    same = (other.method, other.regime, other.learning_rate) == (cell.method, cell.regime, cell.learning_rate)
    return same and cell.deterministic and not other.deterministic


def _params(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["params:0"].ravel()


def _curve(run: Path) -> Row:
    evaluations = [line for line in records.read_jsonl(run / records.METRICS) if line["kind"] == "eval"]
    names = [name for name in ("epoch", "accuracy", "top5_accuracy") if evaluations and name in evaluations[0]]
    return {name: [line[name] for line in evaluations] for name in names}


def _summaries(cell: Cell, name: str) -> list[float | None]:
    return [records.read_json(Path(job.config.folder, records.SUMMARY))[name] for job in cell.jobs]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
