"""`predict`: posterior draws -> the predictive distribution and its uncertainty."""

import shlex
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from bnn_hvd import registry, seeds
from bnn_hvd.config import PredictConfig, TrainConfig
from bnn_hvd.data import own
from bnn_hvd.data.arrays import Arrays as DataArrays
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.data.stored import Inputs
from bnn_hvd.distributed import cluster, machine
from bnn_hvd.distributed.cluster import Cluster, Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference.build import build_method
from bnn_hvd.metrics import pareto
from bnn_hvd.models import own as own_network
from bnn_hvd.models.build import build_network
from bnn_hvd.prediction import calibration, classes, ratings, reals, rows, shift, vectors
from bnn_hvd.prediction.other_data import load_like
from bnn_hvd.prediction.place import Origin, choose_folder
from bnn_hvd.prediction.posterior_check import PosteriorCheck, check_lines
from bnn_hvd.prediction.predictor import Found, Predictor
from bnn_hvd.prediction.reference import read_exact, read_probs, read_reference, reference_lines
from bnn_hvd.run import checkpoint, records, rundir
from bnn_hvd.run.checkpoint import Arrays
from bnn_hvd.run.heartbeat import Heartbeat
from bnn_hvd.run.own_code import say_change
from bnn_hvd.run.records import Stopwatch
from bnn_hvd.targets import Classes, ImplicitRatings, RealValues, RealVectors, Target

KINDS: dict[type[Target], ModuleType] = {
    Classes: classes, RealValues: reals, RealVectors: vectors, ImplicitRatings: ratings,
}  # fmt: skip


class Predicted(NamedTuple):
    """What `predict` wrote: the content of uncertainty.json, and the lines that the command line prints.

    predictor, x, y: what predicted, and the examples and targets that it predicted.
    """

    report: dict[str, Any]
    lines: list[str]
    predictor: Predictor
    x: Inputs
    y: np.ndarray


def main(config: PredictConfig) -> int:
    """Predict the test part of a run's data, or of other data; return the exit code."""
    lines = predict(config).lines
    if lines:
        print(*lines, sep="\n")
    return 0


def predict(config: PredictConfig) -> Predicted:
    """Predict the test part of a run's data, or of other data, and write it; the lines are those of rank 0.

    Raises:
      UserError: the data do not fit the run, a flag does not fit its kind of target, or the folder can't be written.
    """
    run = Path(config.run)
    trained, known = rundir.read_config(run), read_description(run)
    check_kind(config, known.target)
    arrays = load_like(trained, known, config.data_dir)
    ood = load_like(trained, known, config.ood_data_dir, same_classes=False) if config.ood_data_dir else None
    fingerprint = Fingerprint.of(arrays) if config.data_dir else known.fingerprint
    if config.corrupt:
        shift.check(config, known.target, known.example_shape, arrays.y_test)
    folder = choose_folder(config, known, fingerprint)
    kind = KINDS[type(known.target)]
    exact = read_exact(Path(config.exact), arrays) if config.exact else None
    reference = find_reference(config, arrays, fingerprint.test, kind) if config.reference else None

    ranks = cluster.connect()
    threads = machine.set_up(config.threads, ranks)
    stored = rundir.read_checkpoint(run)
    predictor, progress = restore_from(stored, trained, known, ranks), checkpoint.read_progress(stored)
    source = config.data_dir or trained.data.data_dir
    origin = Origin.of(trained, progress, source, fingerprint.test, own_data=fingerprint == known.fingerprint)
    say_change(own.code_of(trained), ranks.is_root)
    num_draws = predictor.method.num_draws(config.num_draws)
    if ranks.is_root:
        say_progress(config.run, predictor, len(arrays.x_test), num_draws)
    kept = ranks.broadcast(calibration.read(run))  # a file system may show an older file on another host
    calibrating = calibration.plan(config, trained, known, arrays, fingerprint, progress.step, num_draws, kept)
    config = calibrating.config(config)
    watch = Stopwatch()
    found, report = kind.predict(predictor, arrays, config)
    found |= rows.places(arrays)
    calibrated, (more, measured) = calibrating.apply(
        found, arrays.y_test, config, lambda levels: reals.quantiles(predictor, arrays.x_test, num_draws, levels)
    )
    found, report = found | more, report | measured
    if config.corrupt:
        more, measured = shift.predict(predictor, arrays, config, found, calibrated)
        found, report = found | more, report | measured
    recommended = report.pop(records.RECOMMENDATIONS, None)
    predict_wall_s = watch.elapsed_s()
    report |= origin.report() | {
        "num_draws": num_draws, "num_examples": len(arrays.x_test),
        "predict_wall_s": predict_wall_s, "ranks": ranks.size, "threads": threads,
    }  # fmt: skip
    if reference:
        report["reference"] = {"run": config.reference, **kind.compare(found, reference)}
    if exact:
        exact_found, report["exact"] = vectors.compare_exact(found, exact)
        found |= exact_found
    train = (arrays.x_train, arrays.y_train) if fingerprint.train == known.fingerprint.train else None
    if checked := PosteriorCheck(predictor, trained, train).report(config.check_draws):
        report["posterior_check"] = checked
    if ood:
        ood_found, of_ood = kind.predict_ood(predictor, ood, config, found)
        facts = {"fingerprint": Fingerprint.of(ood).test, "num_examples": len(ood.x_test)}
        report["ood"] = of_ood | {"data_dir": config.ood_data_dir} | facts
        found |= ood_found
    lines: list[str] = []
    if ranks.is_root:
        write(folder, found | origin.arrays(), report, recommended)
        if calibrated and calibrating.asked:
            calibration.write(run, calibrated)
        lines = [*kind.text(report), *calibration.lines(report, calibrating.note), *shift.lines(report)]
        lines += closing_lines(config.run, folder, origin, report)
    ranks.barrier()
    return Predicted(report, lines, predictor, arrays.x_test, arrays.y_test)


def closing_lines(run: str, folder: Path, origin: Origin, report: dict[str, Any]) -> list[str]:
    """Return the lines that `predict` prints after the scores: how far to trust them, what was written of which step,
    and the next command."""
    at_step = [] if origin.run_finished else [f"at step {origin.step} of a run that has not finished"]
    shown = "" if folder == Path(run) else f" --prediction={shlex.quote(str(folder))}"
    rows_too = f", {folder / records.PREDICTED_ROWS}" * (folder / records.PREDICTED_ROWS).exists()
    return [
        *check_lines(report), *reference_lines(report), *why_not_converged(Path(run)), *at_step,
        f"written: {folder / records.PREDICTIVE}, {folder / records.UNCERTAINTY}{rows_too}",
        f"Next: python -m bnn_hvd plot --run={shlex.quote(run)}{shown}",
    ]  # fmt: skip


def why_not_converged(run: Path) -> list[str]:
    """Return the lines in which `train` said what a run lacks; none if it has converged."""
    verdict = rundir.read_summary(run).get("convergence")
    return verdict["why"].splitlines() if verdict and verdict["converged"] is not None else []


def write(folder: Path, found: Found, report: dict[str, Any], recommended: dict[str, Any] | None) -> None:
    """Write the files of a prediction."""
    folder.mkdir(parents=True, exist_ok=True)
    records.write_npz(folder / records.PREDICTIVE, found)
    records.write_json(folder / records.UNCERTAINTY, report)
    if text := rows.to_csv(found):
        records.write_text(folder / records.PREDICTED_ROWS, text)
    if recommended is not None:
        records.write_json(folder / records.RECOMMENDATIONS, recommended)


def say_progress(run: str, predictor: Predictor, num_examples: int, num_draws: int) -> None:
    """Print what is predicted, and let the predictor print how far it is, where nothing else is printed."""
    size = predictor.ranks.size
    print(f"predict: {num_examples:,} examples with {num_draws} draws of {run}; ranks: {size}", flush=True)
    heartbeat = Heartbeat(lambda text: print(text, flush=True))
    predictor.on_progress = lambda done, total: heartbeat.beat(f"{done / total:.0%} of this pass over the data")


def find_reference(config: PredictConfig, arrays: DataArrays, fingerprint: str, kind: ModuleType) -> Found:
    """Return the arrays to compare with, of another run or of a file of probabilities.

    Raises:
      UserError: they are of other examples, or of another kind of target.
    """
    path = Path(config.reference)
    if not path.is_file():
        return read_reference(path, fingerprint, kind.COMPARED)
    if kind is not classes:
        raise UserError(f"--reference={path} is a file, of class probabilities, and this run predicts real values")
    return read_probs(path, rows.places(arrays)["row_N"], arrays.class_names)


def read_description(run: Path) -> Description:
    """Return the description of the data that a run was trained on."""
    return Description.from_dict(rundir.read_data(run))


def check_kind(config: PredictConfig, target: Target) -> None:
    """Raise UserError for flags that do not apply to this kind of target."""
    if config.reference and isinstance(target, ImplicitRatings):
        raise UserError("--reference compares predictions of classes or real values, not of ratings: leave it out")
    if config.exact and not isinstance(target, RealVectors):
        raise UserError("--exact is for gravitational waves, and this run is on other data: leave it out")
    if config.keep_draws == "all" and isinstance(target, RealVectors):
        raise UserError("--keep_draws=all is for classes and for one real target, not for several: leave it out")
    if config.coverage and isinstance(target, ImplicitRatings):
        raise UserError(f"--coverage is for classes and for real targets, and this run has {target}: leave it out")
    fitting: dict[str, type[Target]] = {"temperature": Classes, "quantiles": RealValues}
    if config.calibrate and not isinstance(target, fitting[registry.known(fitting, config.calibrate)]):
        raise UserError(
            f"--calibrate={config.calibrate} does not fit this run, which has {target}: temperature is for classes, "
            "quantiles for one real target"
        )
    if (config.coverage or config.calibrate) and target.label_shape:
        raise UserError(f"--coverage and --calibrate are for one label per example, not for {target}: leave them out")
    if config.check_draws and config.check_draws < pareto.FEWEST_DRAWS:
        raise UserError(
            f"--check_draws={config.check_draws} is too few for a tail: give at least {pareto.FEWEST_DRAWS}, or 0"
        )
    if config.users and not isinstance(target, ImplicitRatings):
        raise UserError(f"--users={config.users} is for runs on ratings, but this run is on other data: leave it out")
    others = (config.mode != "mean", config.quantiles, config.ood_data_dir, config.keep_draws != "chosen")
    if isinstance(target, ImplicitRatings) and any(others):
        raise UserError("--mode, --quantiles, --keep_draws and --ood_data_dir do not apply to ratings: leave them out")


def restore(trained: TrainConfig, known: Description, ranks: Cluster) -> Predictor:
    """Return the predictor of the newest checkpoint of a run."""
    return restore_from(rundir.read_checkpoint(trained.folder), trained, known, ranks)


def restore_from(stored: Arrays, trained: TrainConfig, known: Description, ranks: Cluster) -> Predictor:
    """Return the predictor of a checkpoint, with as many particles as it has."""
    if trained.method.num_particles:
        trained = trained.replace(num_particles=checkpoint.num_particles(stored))
    trained = trained.replace(init_from="")  # that run may be gone, and the checkpoint has all weights
    say_change(own_network.code_of(trained), ranks.is_root)
    network = build_network(trained, known.example_shape, known.target)
    method = build_method(trained, network, known.target, known.num_train, Solo())  # every rank has the gathered state
    state = method.init(seeds.seed(trained.run.seed, "init"))
    checkpoint.restore(stored, state)
    return Predictor(method, state, known.target, known.standardizer, ranks, trained.run.seed)
