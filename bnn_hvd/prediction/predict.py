"""`predict`: posterior draws -> the predictive distribution, and how sure it is."""

import dataclasses
from pathlib import Path
from typing import Any

from bnn_hvd import seeds, targets
from bnn_hvd.config import PredictConfig, TrainConfig
from bnn_hvd.data import sources
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.distributed import cluster, machine
from bnn_hvd.distributed.cluster import Cluster, Solo
from bnn_hvd.errors import UserError
from bnn_hvd.inference import build as inference
from bnn_hvd.metrics import fidelity
from bnn_hvd.models.network import build
from bnn_hvd.prediction import classes, ratings, reals
from bnn_hvd.prediction.predictor import Predictor
from bnn_hvd.prediction.reference import read_reference
from bnn_hvd.run import checkpoint, records, rundir
from bnn_hvd.run.records import Stopwatch


def main(config: PredictConfig) -> int:
    """Predict the test part of a run's data, or of other data; returns the exit code."""
    run = Path(config.run)
    trained = rundir.read_config(run)
    described = rundir.read_data(run)
    arrays = load_like(trained, described, config.data_dir)
    ood = load_like(trained, described, config.ood_data_dir, same_classes=False) if config.ood_data_dir else None
    if config.reference and not described["num_classes"]:
        raise UserError("--reference compares probabilities of classes, and this run has none: leave it out")
    if config.users and not arrays.num_items:
        raise UserError(f"--users={config.users} is of ratings, and this run is of something else: leave it out")
    reference_NC = read_reference(Path(config.reference), arrays.y_test) if config.reference else None

    ranks = cluster.connect()
    threads = machine.set_up(config.threads, ranks)
    predictor = restored(trained, described, ranks)
    kind = classes if described["num_classes"] else ratings if arrays.num_items else reals
    watch = Stopwatch()
    found, report = kind.predict(predictor, arrays, config)
    report |= {
        "num_draws": predictor.method.num_draws(config.num_draws), "num_examples": len(arrays.x_test),
        "predict_wall_s": watch.elapsed_s(), "ranks": ranks.size, "threads": threads,
    }  # fmt: skip
    if reference_NC is not None:
        report["reference"] = {"run": config.reference, **fidelity.compare(found["probs_NC"], reference_NC)}
    if ood:
        outside, report["ood"] = kind.outside(predictor, ood, config, found)
        report["ood"] |= {"data_dir": config.ood_data_dir, "num_examples": len(ood.x_test)}
        found |= outside
    if ranks.is_root:
        records.write_npz(run / records.PREDICTIVE, found)
        records.write_json(run / records.UNCERTAINTY, report)
        lines = [*kind.text(report), f"written: {run / records.PREDICTIVE}, {run / records.UNCERTAINTY}"]
        print("\n".join(lines))
    ranks.barrier()
    return 0


def restored(trained: TrainConfig, described: dict[str, Any], ranks: Cluster) -> Predictor:
    """Return the predictor of a run as it was last saved; of particles that are being added, those that are there."""
    num_items = described.get("num_items", 0)  # runs of before have none
    network = build(trained, tuple(described["example_shape"]), described["num_classes"], num_items)
    stored = rundir.read_checkpoint(Path(trained.run))
    if trained.num_particles:
        trained = dataclasses.replace(trained, num_particles=checkpoint.num_particles(stored))
    trained = dataclasses.replace(
        trained, init_from=""
    )  # that run may be gone: what began with it is in the checkpoint
    units = targets.from_dict(described)
    method = inference.build(trained, network, described["num_train"], Solo(), units=units)  # the state is whole here
    state = method.init(seeds.seed(trained.seed, "init"))
    checkpoint.restore(stored, state)
    standardizer = Standardizer.from_dict(described["standardizer"])
    return Predictor(method, state, standardizer, ranks, trained.seed, units)


def load_like(trained: TrainConfig, described: dict[str, Any], data_dir: str, same_classes: bool = True) -> Arrays:
    """Read other data in the format of the run's own (or the run's own), that its network can take.

    Raises:
      UserError: examples of another shape, columns in another order, or labels that the run does not know.
    """
    if data_dir and trained.dataset == "digits":  # they are built in: other data for them come as an .npz
        arrays = sources.load("npz", data_dir)
    else:
        arrays = sources.load(trained.dataset, data_dir or trained.data_dir, **sources.flags(trained))
    shape, largest = list(arrays.x_test.shape[1:]), int(arrays.y_test.max(initial=0)) if arrays.num_classes else 0
    if shape != described["example_shape"]:
        raise UserError(
            f"{data_dir} has examples of shape {shape}, the run was trained on {described['example_shape']}"
        )
    size = [len(arrays.x_train), arrays.num_items]
    if arrays.num_items and size != [described["num_train"], described["num_items"]]:
        raise UserError(
            f"{data_dir or trained.data_dir} has {size[0]} users and {size[1]} items, the run was trained on "
            f"{described['num_train']} and {described['num_items']}: its parameters are of these"
        )
    names = described.get("input_names", list(arrays.input_names))  # runs of before have none
    if names != list(arrays.input_names):
        raise UserError(
            f"{data_dir} has the columns {', '.join(arrays.input_names)}, the run was trained on {', '.join(names)}: "
            "bring them into that order"
        )
    if same_classes and arrays.num_classes and largest >= described["num_classes"]:
        raise UserError(f"{data_dir} has the label {largest}, the run knows {described['num_classes']} classes")
    return arrays
