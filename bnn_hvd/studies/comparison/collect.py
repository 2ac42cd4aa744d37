"""The rows of a comparison, from its run directories: means and standard errors over seeds or splits, and the cost.

Legend: R runs of a row.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bnn_hvd.run import records, rundir
from bnn_hvd.studies.comparison.columns import COLUMNS, value
from bnn_hvd.studies.comparison.rows import Run

Row = dict[str, Any]
COSTS = ("train_s", "step_ms", "prediction_ms")
REFERENCE = "point"  # the method whose cost is 1


def rows(runs: Sequence[Run], made: Iterable[str]) -> list[Row]:
    """Return the rows of compare.json; a row has the runs that are in `made`, and is left out without any."""
    there = set(made)
    costs = {run.name: cost(run) for run in runs if run.name in there}
    for run in runs:
        if run.start in costs and run.name in costs and run.job.config.method.options.fitted:
            costs[run.name]["train_s"] += costs[run.start]["train_s"]  # without that run it is nothing
    grouped: dict[Any, list[Run]] = {}
    for run in runs:
        if run.in_table and run.name in there:
            grouped.setdefault(run.entry, []).append(run)
    found = [row(mine, costs) for mine in grouped.values()]
    for one in found:
        one["relative_cost"] = relative(one, found)
    return found


def row(runs: Sequence[Run], costs: dict[str, dict[str, float]]) -> Row:
    """Return one row, without its relative cost."""
    config = runs[0].job.config
    reports = [records.read_table(run.folder / records.UNCERTAINTY) for run in runs]
    groups_R = [run.repeat.group for run in runs]
    each = {column.place: [value(report, column.place) for report in reports] for column in COLUMNS}
    return {
        "dataset": runs[0].entry.dataset or config.data.dataset,
        "network": runs[0].entry.network or config.network.architecture,
        "method": runs[0].entry.method or config.method.name,
        "inference": config.method.name,
        "num_train": rundir.read_summary(runs[0].folder)["num_train"],
        "runs": [run.name for run in runs],
        "scores": {place: summary(values_R, groups_R) for place, values_R in each.items() if None not in values_R},
        "cost": {name: float(np.median([costs[run.name][name] for run in runs])) for name in COSTS},
    }  # fmt: skip


def summary(values_R: Sequence[Any], groups_R: Sequence[int]) -> dict[str, Any]:
    """Return the mean over the groups of runs, its standard error (None of one group), and the value of each run.

    Runs with several seeds on one split are a group: they share its test part, and only their mean is independent.
    """
    values = np.array(values_R)
    means = [values[np.array(groups_R) == group].mean() for group in dict.fromkeys(groups_R)]
    error = np.std(means, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else None
    return {"mean": float(np.mean(means)), "standard_error": error and float(error), "each": list(values_R)}


def cost(run: Run) -> dict[str, float]:
    """Return the seconds of training, and the milliseconds of a step and of predicting 1,000 examples.

    Compilation does not count.
    """
    trained = rundir.read_summary(run.folder)
    return {
        "train_s": trained["train_wall_s"],
        "step_ms": trained["step_ms_median"] or float("nan"),
        "prediction_ms": records.read_table(run.folder / records.COMPARED)["prediction_ms"],
    }


def relative(one: Row, rows: Sequence[Row]) -> dict[str, float] | None:
    """Return the cost as multiples of that of point on the same network and data; None if it is not in the table."""
    mine = [other for other in rows if (other["dataset"], other["network"]) == (one["dataset"], one["network"])]
    points = [other for other in mine if other["method"] == REFERENCE]
    points += [other for other in mine if other["inference"] == REFERENCE]
    if not points:
        return None
    return {name: one["cost"][name] / (points[0]["cost"][name] or float("nan")) for name in COSTS}
