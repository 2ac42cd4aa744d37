"""The verb `churn`: trains replicas, compares them, and draws the figures."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.config import ChurnConfig
from bnn_hvd.errors import EXIT_INTERRUPTED, UserError
from bnn_hvd.plots import churn as figures
from bnn_hvd.plots import style
from bnn_hvd.run import records
from bnn_hvd.studies import runs, text_table
from bnn_hvd.studies.churn import collect, ops, predictions, regimes

SHOWN = {
    "churn": ".4f", "pairwise_disagreement": ".4f", "accuracy_mean": ".4f", "accuracy_spread": ".4f",
    "churn_per_error": ".3f", "auroc_epistemic": ".3f", "first_difference_step": "d", "step_time_ratio": ".3f",
}  # fmt: skip
NUM_EXAMPLES = 24


def main(config: ChurnConfig) -> int:
    """Train the runs that are missing, then write churn.json, curves.json, examples.npz and the figures into --run."""
    if config.ops:
        return ops.main(config)
    if not config.run:
        raise UserError("--run is required: the directory of the study")
    cells = regimes.cells(config)
    jobs = regimes.jobs(cells)
    if config.train["dry_run"]:
        print(runs.shown(jobs, config))
        return 0
    collect.check_data(cells, config)
    if not runs.train(jobs, config):
        print("stopped early; the same command goes on from there")
        return EXIT_INTERRUPTED
    report(Path(config.run), cells, config)
    return 0


def report(folder: Path, cells: list[regimes.Cell], config: ChurnConfig) -> None:
    """Write the results, and print their table."""
    test = predictions.predict_all([job.config for cell in cells for job in cell.jobs], config.num_draws)
    rows = collect.rows(cells, test, collect.read_groups(config.groups, len(test.labels_N)))
    records.write_json(folder / records.CHURN, rows)
    records.write_json(folder / records.CURVES, collect.curves(cells))
    chosen = collect.examples(cells, rows, test, NUM_EXAMPLES)
    if chosen:
        records.write_npz(folder / records.CHURN_EXAMPLES, chosen)
    print(table(rows))
    draw(folder, rows, chosen, config.format.lower())


def draw(folder: Path, rows: list[dict[str, Any]], chosen: dict[str, np.ndarray], kind: str) -> None:
    """Draw the figures for which there are data, and print their paths."""
    there = {
        "determinism": any(row["step_time_ratios"] for row in rows), "groups": bool(rows[0]["groups"]),
        "examples": bool(chosen) and chosen["x_EHWC"].ndim == 4,
    }  # fmt: skip
    for name, figure in figures.FIGURES.items():
        if there.get(name, True):
            style.draw(functools.partial(figure, folder), folder / f"{name}.{kind}")
            print(folder / f"{name}.{kind}")


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table that is printed: a line per cell."""
    heads = ["method", "regime", "learning_rate", "deterministic", *SHOWN]
    return text_table.aligned(heads, [[*(str(row[head]) for head in heads[:4]), *_shown(row)] for row in rows])


def _shown(row: dict[str, Any]) -> list[str]:
    return ["-" if row[name] is None else format(row[name], style) for name, style in SHOWN.items()]
