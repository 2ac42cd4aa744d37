"""compare.md: a table per network and data set and, for several data sets, one per score."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from bnn_hvd.studies.comparison.collect import Row
from bnn_hvd.studies.comparison.columns import COLUMNS, LOWER, NEITHER, Column

OVERVIEW = ("accuracy", "rmse", "nll", "ece")  # scores with a table over all data sets
COST_HEADS = {"train_s": "training", "step_ms": "a step", "prediction_ms": "a prediction"}
UNITS = {"train_s": "training, s", "step_ms": "a step, ms", "prediction_ms": "1,000 predictions, ms"}
ARROWS = {1: " ↑", LOWER: " ↓", NEITHER: ""}


def text(name: str, rows: Sequence[Row], failed: dict[str, str]) -> str:
    """Return the content of compare.md. name: of the study; failed: why runs failed, by name."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["network"]), []).append(row)
    parts = [f"# {name}\n\n{legend(rows)}"]
    if len(groups) > 1:
        parts += [overview(column, groups) for column in COLUMNS if column.place in OVERVIEW]
    parts += [f"## {dataset}, {network}\n\n{detail(mine)}" for (dataset, network), mine in groups.items()]
    if failed:
        parts.append("## Runs that failed\n\n" + "\n".join(f"- {run}: {why}" for run, why in failed.items()))
    return "\n\n".join(filter(None, parts)) + "\n"


def legend(rows: Sequence[Row]) -> str:
    costs = (
        "Costs are multiples of those of point: the time of its training, of a step and of predicting 1,000 examples."
        if all(row["relative_cost"] for row in rows)
        else "Costs are times, as not every table has a row of point."
    )
    return (
        "Means ± standard errors over the runs of a row. Bold: the best of a column, and what is within one standard "
        f"error (of the difference) of it. NLL in nats per example, for real targets in their own units. {costs}"
    )


def overview(column: Column, groups: dict[tuple[str, str], list[Row]]) -> str:
    """Return the table of one score: a line per data set and network, a column per method; "" if no run has it."""
    methods = list(dict.fromkeys(row["method"] for rows in groups.values() for row in rows))
    lines = []
    for (dataset, network), rows in groups.items():
        of_method = {row["method"]: row for row in rows}
        if any(column.place in row["scores"] for row in rows):
            best = best_of(rows, column)
            cells = [score(of_method[name], column, best) if name in of_method else "-" for name in methods]
            lines.append([dataset, network, *cells])
    return f"## {column.head}{ARROWS[column.better]}\n\n{table(['data', 'network', *methods], lines)}" if lines else ""


def detail(rows: Sequence[Row]) -> str:
    """Return the table of all methods with one network on one data set."""
    columns = [column for column in COLUMNS if any(column.place in row["scores"] for row in rows)]
    relative = all(row["relative_cost"] for row in rows)
    heads = ["method", "runs", *(column.head + ARROWS[column.better] for column in columns)]
    heads += (COST_HEADS if relative else UNITS).values()
    best = {column: best_of(rows, column) for column in columns}
    lines = []
    for row in rows:
        costs = row["relative_cost" if relative else "cost"]
        lines.append([
            row["method"], str(len(row["runs"])), *(score(row, column, best[column]) for column in columns),
            *(number(costs[name]) for name in COST_HEADS),
        ])  # fmt: skip
    return table(heads, lines)


def best_of(rows: Sequence[Row], column: Column) -> dict[str, Any] | None:
    """Return the scores of the best row, None where no direction is better."""
    there = [row["scores"][column.place] for row in rows if column.place in row["scores"]]
    choose: Callable[..., Any] = min if column.better == LOWER else max
    return choose(there, key=lambda found: found["mean"]) if there and column.better != NEITHER else None


def score(row: Row, column: Column, best: dict[str, Any] | None) -> str:
    """Return a cell: mean ± standard error, bold if it is the best or not clearly worse."""
    found = row["scores"].get(column.place)
    if found is None:
        return "-"
    mean, error = found["mean"], found["standard_error"]
    shown = f"{fixed(mean, error)} ± {fixed(error, error)}" if error else number(mean)
    if best is None:
        return shown
    of_difference = math.hypot(error or 0.0, best["standard_error"] or 0.0)
    return f"**{shown}**" if abs(mean - best["mean"]) <= of_difference else shown


def fixed(value: float, error: float) -> str:
    """Return a number with the digits that its standard error has: two of them count."""
    return f"{value:.{min(8, max(0, 1 - math.floor(math.log10(error))))}f}"


def number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = ["---"] * len(heads)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *lines))
