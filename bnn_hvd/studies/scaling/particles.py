"""`scale --particles`: the time of an epoch for different numbers of particles and ranks."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnn_hvd import config as flags
from bnn_hvd.config import ScaleConfig, lists
from bnn_hvd.distributed import particles
from bnn_hvd.errors import UserError
from bnn_hvd.plots import scaling as figures
from bnn_hvd.plots import style
from bnn_hvd.run import records
from bnn_hvd.studies import launch
from bnn_hvd.studies.runs import Job, check_used, run_flags
from bnn_hvd.studies.scaling import collect, predict_particles
from bnn_hvd.studies.scaling.model import Link


@dataclasses.dataclass(frozen=True)
class Row:
    """A number of particles on a number of ranks: medians over the repeats, with the extremes."""

    model: str
    particles: int
    ranks: int
    nodes: int
    threads: int
    repeats: int
    batch_size: int
    epoch_s: float  # an epoch of all particles
    epoch_s_min: float
    epoch_s_max: float


def jobs(config: ScaleConfig) -> list[Job]:
    """Return the runs in the order of training: each number of particles on each number of ranks, then all again.

    Raises:
      UserError: neither of a number of particles and a number of ranks divides the other.
    """
    counts, ranks = lists.counts(config.particles, "--particles"), lists.counts(config.ranks, "--ranks")
    for number in ranks:
        for count in counts:
            particles.share(range(count), 0, number, config.train["allow_uneven"])
    threads = config.train["threads"] or launch.threads(os.environ, max(ranks), os.cpu_count() or 1)
    found = [
        Job(number, flags.resolve_used(**run_flags(
            config, f"{count}particles_{number}ranks_{repeat}", threads=threads, num_particles=count,
        )))
        for repeat in range(config.repeats)
        for number in ranks
        for count in counts
    ]  # fmt: skip
    check_used({**config.given, "num_particles": 0}, found)
    return found


def rows(runs: Sequence[collect.Run]) -> list[Row]:
    """Return one row per number of ranks and particles, in ascending order.

    Raises:
      UserError: the runs differ in network, data, threads or batch size, or one has no particles.
    """
    collect.check_comparable(runs, "model", "data", "threads", "batch_size", "num_weights")
    if lone := [run for run in runs if not run.num_particles]:
        raise UserError(f"{lone[0].path} has no particles: leave it out of --runs")
    return [
        _row([run for run in runs if (run.ranks, run.num_particles) == key])
        for key in sorted({(run.ranks, run.num_particles) for run in runs})
    ]


def _row(group: Sequence[collect.Run]) -> Row:
    first, seconds = group[0], [run.num_train / run.examples_per_s for run in group]
    return Row(
        first.model, first.num_particles, first.ranks, first.nodes, first.threads, len(group), first.batch_size,
        float(np.median(seconds)), min(seconds), max(seconds),
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return the table that is printed; `/ first` is the ratio to the fewest particles on the fewest ranks."""
    lines = [f"{'particles':>9}{'ranks':>7}{'threads':>9}{'s per epoch':>13}{'range':>20}{'/ first':>9}"]
    for r in rows:
        spread = f"{r.epoch_s_min:.4g}-{r.epoch_s_max:.4g}"
        share = r.epoch_s / rows[0].epoch_s
        lines.append(f"{r.particles:9}{r.ranks:7}{r.threads:9}{r.epoch_s:13.4g}{spread:>20}{share:9.2f}")
    return "\n".join(lines)


def report(folder: Path, runs: Sequence[collect.Run], kind: str, link: Link | None) -> None:
    """Write particles.csv, particles.json, with a link prediction.csv, and the figure; print the table and its path."""
    found = rows(runs)
    records.make_study_directory(folder)
    if link:
        records.write_text(folder / "prediction.csv", collect.as_csv(predict_particles.predict(runs, link)))
    records.write_text(folder / "particles.json", collect.as_json(found))
    records.write_text(folder / "particles.csv", collect.as_csv(found))
    print(table(found))
    caption = f"{found[0].model}, {runs[0].num_weights:,} weights each, {runs[0].data}, batch {found[0].batch_size}"
    print(caption)
    path = folder / f"particles.{kind}"
    style.draw(lambda: figures.particles(folder, found, caption), path)
    print(path)
