"""The predictions of the replicas for the test part. This process makes all of them, by the same kernels."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bnn_hvd.config import TrainConfig
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.stored import Inputs
from bnn_hvd.distributed import machine
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.prediction import classes, predict
from bnn_hvd.prediction.other_data import load_like
from bnn_hvd.prediction.predictor import Predictor
from bnn_hvd.run import checkpoint, records, rundir


class Test(NamedTuple):
    """The test part, and the prediction of each run for it. Legend: N examples, C classes."""

    arrays: Arrays
    labels_N: np.ndarray
    probs_NC: dict[str, np.ndarray]  # by run
    epistemic_N: dict[str, np.ndarray]  # mutual information of label and weights, in nats, by run


def predict_all(configs: Sequence[TrainConfig], num_draws: int) -> Test:
    """Return the predictions of finished runs on one data set; stored predictions are read."""
    known = predict.read_description(configs[0].folder)
    arrays = load_like(configs[0], known, "")
    found = {config.run.folder: stored(config.folder, num_draws) for config in configs}
    missing = [config for config in configs if not found[config.run.folder]]
    if missing:
        machine.set_up(configs[0].machine.threads, Solo(), deterministic=True)
        print(f"predicting with {len(missing)} replicas", flush=True)
    predictors: dict[str, Predictor] = {}  # by method: tracing a predictor takes longer than predicting
    for config in missing:
        run, method = config.folder, config.method.name
        if method not in predictors:
            predictors[method] = predict.restore(config, predict.read_description(run), Solo())
        predictor = predictors[method]
        checkpoint.restore(rundir.read_checkpoint(run), predictor.state)
        found[config.run.folder] = predicted = made(predictor, arrays.x_test, num_draws)
        records.write_npz(run / records.CHURN_PREDICTIONS, predicted | {"num_draws": np.array(num_draws)})
    return Test(
        arrays,
        arrays.y_test,
        {run: predicted["probs_NC"] for run, predicted in found.items()},
        {run: predicted["epistemic_N"] for run, predicted in found.items()},
    )


def made(predictor: Predictor, x: Inputs, num_draws: int) -> dict[str, np.ndarray]:
    """Return probs_NC, and epistemic_N in nats."""
    found = classes.distribution(predictor.predict(x, num_draws), predictor.method.num_draws(num_draws) == 1)
    return {"probs_NC": found["probs_NC"], "epistemic_N": found["mutual_information_N"]}


def stored(run: Path, num_draws: int) -> dict[str, np.ndarray]:
    """Return the stored predictions of a run; {} if there are none, or if they have another number of draws."""
    path = run / records.CHURN_PREDICTIONS
    if not path.exists():
        return {}
    with np.load(path) as arrays:
        return dict(arrays) if int(arrays["num_draws"]) == num_draws else {}
