"""`scale`: the time of training on different numbers of ranks, and a prediction for more. Needs no TensorFlow.

`jobs` lists the runs, `bnn_hvd.studies.runs` trains them, `collect` reads their directories, `model` and `predict`
extrapolate to more ranks, `simulate` adds stragglers and failures, `bnn_hvd.plots` draws. `particles` is the study of
the number of particles.
"""

import functools
import glob
from collections.abc import Sequence
from pathlib import Path

from bnn_hvd.config import ScaleConfig
from bnn_hvd.errors import EXIT_INTERRUPTED, UserError
from bnn_hvd.plots import scaling as figures
from bnn_hvd.plots import simulation as simulation_figures
from bnn_hvd.plots import style
from bnn_hvd.run import records
from bnn_hvd.studies import runs as study_runs
from bnn_hvd.studies.scaling import collect, jobs, model, particles, predict, simulate
from bnn_hvd.studies.scaling.collect import Row
from bnn_hvd.studies.scaling.model import Link
from bnn_hvd.studies.scaling.predict import Prediction


def main(config: ScaleConfig) -> int:
    """Train the runs or read those of --runs, then write the tables and the figures into --run; returns the exit code.

    Raises:
      UserError: a flag is missing, or flags contradict each other.
    """
    if not config.run:
        raise UserError("--run is required: the directory of the study")
    link = link_of(config)  # before hours of training
    if config.simulate and (config.particles or not link):
        raise UserError(
            "--simulate is of runs without --particles, and needs a network: --allreduce=FILE, --interconnect=NAME, or "
            "--alpha_us and --beta_gb_per_s"
        )
    if config.runs:
        paths = [Path(path) for path in sorted(glob.glob(config.runs))]
    else:
        todo = particles.jobs(config) if config.particles else jobs.jobs(config)
        if config.train["dry_run"]:
            print(study_runs.shown(todo, config))
            return 0
        if not study_runs.train(todo, config):
            print("stopped early; the same command goes on from there")
            return EXIT_INTERRUPTED
        paths = [job.config.folder for job in todo]
    if config.particles:
        particles.report(Path(config.run), collect.read_all(paths), config.format.lower(), link)
    else:
        report(Path(config.run), collect.read_all(paths), config, link)
    return 0


def link_of(config: ScaleConfig) -> Link | None:
    """Return the interconnect of the prediction, None if no flag gives one.

    Raises:
      UserError: several flags give one, or the bandwidth is missing.
    """
    by_hand = config.alpha_us > 0 or config.beta_gb_per_s > 0
    if [bool(config.allreduce), bool(config.interconnect), by_hand].count(True) > 1:
        raise UserError("--allreduce, --interconnect, and --alpha_us with --beta_gb_per_s: give one of the three")
    if config.allreduce:
        return model.measured(Path(config.allreduce))
    if config.interconnect:
        return model.named(config.interconnect.lower())
    if not by_hand:
        return None
    if not config.beta_gb_per_s:
        raise UserError("--alpha_us needs --beta_gb_per_s, the bandwidth, too")
    return Link(1e-6 * config.alpha_us, 1e-9 / config.beta_gb_per_s, "as given")


def report(folder: Path, runs: Sequence[collect.Run], config: ScaleConfig, link: Link | None) -> None:
    """Write scaling.csv, scaling.json, with a link prediction.csv, and the figures; print the table."""
    mode, rows = collect.mode(runs, config.mode.lower()), collect.rows(runs)
    caption = f"{mode} scaling, {runs[0].data}, {runs[0].length}"
    by_model = {row.model: [other for other in rows if other.model == row.model] for row in rows}
    predictions = {name: predict.predict(mine, mode, link) for name, mine in by_model.items()} if link else {}
    records.make_study_directory(folder)
    records.write_text(folder / "scaling.json", collect.as_json(rows))
    records.write_text(folder / "scaling.csv", collect.as_csv(rows))
    if link:
        everything = [prediction for mine in predictions.values() for prediction in mine]
        records.write_text(folder / "prediction.csv", collect.as_csv(everything))
    print(collect.table(rows))
    print(caption + (f"; predicted for {link}" if link else ""))
    draw(folder, by_model, predictions, caption, link, config.format.lower())
    if link and config.simulate:
        simulation(folder, by_model, runs, mode, link, config)


def simulation(
    folder: Path, rows: dict[str, list[Row]], runs: Sequence[collect.Run], mode: str, link: Link, config: ScaleConfig
) -> None:
    """Simulate every model; write simulation.csv and its figures; print the table."""
    found = {
        name: simulate.simulate(mine, [run for run in runs if run.model == name], mode, link, config)
        for name, mine in rows.items()
    }
    everything = [one for mine in found.values() for one in mine]
    records.write_text(folder / "simulation.csv", collect.as_csv(everything))
    print(simulate.table(everything))
    for name, mine in found.items():
        path = folder / f"simulation_{name}.{config.format.lower()}"
        style.draw(functools.partial(simulation_figures.simulation, folder, mine, mode), path)
        print(path)


def draw(
    folder: Path,
    rows: dict[str, list[Row]],
    predictions: dict[str, list[Prediction]],
    caption: str,
    link: Link | None,
    kind: str,
) -> None:
    """Write the two figures and print their paths; without a link, print which flags give one."""
    drawn = {
        "training_time": functools.partial(figures.training_time, folder, rows, caption),
        "speed_up": functools.partial(figures.speed_up, folder, rows, predictions, caption, str(link)),
    }
    for name, figure in drawn.items():
        path = folder / f"{name}.{kind}"
        style.draw(figure, path)
        print(path)
    if not link:
        print("no prediction: --allreduce=FILE, --interconnect=NAME, or --alpha_us and --beta_gb_per_s give one")
