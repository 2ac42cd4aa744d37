"""The verb `compare`: trains and predicts what is missing, then writes the tables and draws the figures."""

import functools
import shlex
from collections.abc import Sequence
from pathlib import Path

from bnn_hvd import config as flags
from bnn_hvd import registry
from bnn_hvd.config import CompareConfig
from bnn_hvd.data import sources
from bnn_hvd.distributed import cluster
from bnn_hvd.distributed.cluster import Communication
from bnn_hvd.errors import EXIT_INTERRUPTED, TrainingError, UserError
from bnn_hvd.plots import comparison as figures
from bnn_hvd.plots import style
from bnn_hvd.run import records
from bnn_hvd.studies.comparison import collect, completion, rows, tables
from bnn_hvd.studies.comparison.columns import COLUMNS
from bnn_hvd.studies.comparison.rows import Run


def main(config: CompareConfig) -> int:
    """Make the runs that are missing, then write compare.json, compare.md and the figures into --run.

    Raises:
      UserError: a flag is refused, or the data of a run.
      TrainingError: some runs failed; the table has the others.
    """
    if not config.run:
        raise UserError("--run is required: the directory of the study")
    runs = rows.runs(config)
    mine = rows.part_of(runs, config.part)
    if config.train["dry_run"]:
        print("\n".join(map(command_of, mine)))
        return 0
    particles = any(run.job.config.method.num_particles > 1 for run in runs)
    ranks = cluster.connect(Communication(groups=particles, fusion_mb=config.train["fusion_mb"]))
    cluster.on_root(ranks, lambda: check(config, mine))
    try:
        failed = completion.complete(mine, ranks, config.train["max_runtime_s"])
    except completion.Stopped:
        if ranks.is_root:
            print("stopped early; the same command goes on from there")
        return EXIT_INTERRUPTED
    if ranks.is_root:
        report(config, runs, failed)
    ranks.barrier()
    if failed:
        name, why = next(iter(failed.items()))
        raise TrainingError(f"{len(failed)} of {len(mine)} runs failed; the first: {name}: {why}")
    return 0


def command_of(run: Run) -> str:
    """Return the command that trains a run alone."""
    return shlex.join(["python", "-m", "bnn_hvd", "train", *flags.to_flagfile(run.job.config).splitlines()])


def check(config: CompareConfig, runs: Sequence[Run]) -> None:
    """Read each data set once, before hours of training, and make the directory.

    Raises:
      UserError: data can't be read, or the directory can't be written.
    """
    for run in {run.entry.dataset: run for run in runs}.values():
        sources.load_configured(run.job.config)
    records.make_study_directory(Path(config.run, rows.RUNS))


def report(config: CompareConfig, runs: Sequence[Run], failed: dict[str, str]) -> None:
    """Write compare.json and compare.md, draw the figures, and print the tables."""
    folder = Path(config.run)
    made = [run.name for run in runs if completion.is_made(run)]
    if missing := len(runs) - len(made) - len(failed):
        print(f"{missing} of {len(runs)} runs are not made yet; without --part, the same command makes them")
    found = collect.rows(runs, made)
    if not found:
        return
    records.write_json(folder / records.COMPARE, found)
    text = tables.text(folder.resolve().name, found, failed)
    records.write_text(folder / records.COMPARE_TEXT, text)
    print(f"\n{text}")
    draw(folder, found, config.format.lower())
    print(f"written: {folder / records.COMPARE_TEXT}, {folder / records.COMPARE}")


def draw(folder: Path, found: Sequence[collect.Row], kind: str) -> None:
    """Draw the figures of each data set, and print their paths."""
    panels = {column.place: column.head for column in COLUMNS if column.drawn}
    for dataset in dict.fromkeys(row["dataset"] for row in found):
        mine = [row for row in found if row["dataset"] == dataset]
        title = f"{folder.resolve().name}: {registry.short_name(dataset)}"
        drawn = {"scores": functools.partial(figures.scores, title, mine, panels)}
        if all("nll" in row["scores"] for row in mine):
            drawn["cost"] = functools.partial(figures.cost, title, mine)
        for name, figure in drawn.items():
            path = folder / f"{name}_{registry.short_name(dataset)}.{kind}"
            style.draw(figure, path)
            print(path)
