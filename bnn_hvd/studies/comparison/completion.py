"""Trains and predicts the runs of a comparison that are missing.

TensorFlow is imported once. One rank makes the runs in forks of its process; several ranks make them in their own
processes, because MPI can't be forked.
"""

import contextlib
import functools
import gc
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bnn_hvd.config import PredictConfig
from bnn_hvd.distributed import cluster, machine
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import TrainingError, UserError
from bnn_hvd.prediction import predict
from bnn_hvd.prediction.predict import Predicted
from bnn_hvd.run import records, rundir
from bnn_hvd.run.records import Stopwatch
from bnn_hvd.studies import runs as study_runs
from bnn_hvd.studies.comparison import child
from bnn_hvd.studies.comparison.rows import Run
from bnn_hvd.training import train
from bnn_hvd.training.stopping import StopRequest

TIMED_EXAMPLES = 1000
RUNS_OF_A_FORK = 10  # each run of vi adds 30 MB, and a new fork costs as much time as a small run


class Stopped(Exception):  # noqa: N818 - it is no error
    """The job was told to stop before all runs were made."""


def complete(runs: Sequence[Run], ranks: Cluster, max_runtime_s: float) -> dict[str, str]:
    """Train and predict the runs that are not finished; returns why a run failed, by its name.

    Raises:
      Stopped: by a signal, or after max_runtime_s.
      UserError: a run directory belongs to another study, or a run is refused.
    """
    trained, predicted = state(runs, ranks)
    waiting = [run for run in runs if not (run.name in trained and run.name in predicted)]
    if len(waiting) < len(runs) and ranks.is_root:
        print(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already", flush=True)
    deadline = time.monotonic() + max_runtime_s if max_runtime_s else None
    forking = ranks.size == 1 and not machine.has_computed()
    most = RUNS_OF_A_FORK if forking else len(waiting)
    failed: dict[str, str] = {}
    with StopRequest(0) as stop:
        for first in range(0, len(waiting), most):
            work = functools.partial(make_some, waiting, range(first, first + most), ranks, trained, deadline, failed)
            found = child.call(work, stop) if forking else work()
            if found is None or ranks.any(stop.requested()):
                raise Stopped
            failed = found
    return failed


def make_some(
    waiting: Sequence[Run], numbers: range, ranks: Cluster, trained: set[str], deadline: float | None,
    failed: dict[str, str],
) -> dict[str, str] | None:  # fmt: skip
    """Make some of the waiting runs, and print a line for each.

    failed: why earlier runs failed; returns that with those that fail here. None: the job was told to stop.
    """
    say, failed = print if ranks.is_root else _nothing, dict(failed)
    with StopRequest(0) as stop:
        for number in numbers[: len(waiting) - numbers.start]:
            late = deadline is not None and time.monotonic() >= deadline
            if ranks.any(stop.requested() or late):
                return None
            run, watch, how = waiting[number], Stopwatch(), ""
            say(f"[{number + 1}/{len(waiting)}] {run.name}", end=" ", flush=True)
            try:
                if run.start in failed:
                    raise TrainingError(f"it begins with {run.start}, which failed")
                if not make(run, ranks, run.name in trained, deadline):
                    return None
            except TrainingError as error:
                failed[run.name], how = str(error), "failed "
            finally:
                say(f"{how}({watch.elapsed_s():.1f} s)", flush=True)
    return failed


def state(runs: Sequence[Run], ranks: Cluster) -> tuple[set[str], set[str]]:
    """Return the names of the runs that are trained, and of those that are predicted, as rank 0 sees them."""
    found: list[set[str]] = []

    def look() -> None:
        trained = {run.name for run in runs if study_runs.finished(run.job)}
        found.extend([trained, {run.name for run in runs if run.name in trained and is_predicted(run)}])

    cluster.on_root(ranks, look)
    trained, predicted = ranks.broadcast(found)
    return trained, predicted


def is_made(run: Run) -> bool:
    """Return whether a run is trained and predicted."""
    return study_runs.finished(run.job) and is_predicted(run)


def is_predicted(run: Run) -> bool:
    """Return whether a trained run has the prediction that is asked for, of the weights that it has now."""
    path = run.folder / records.COMPARED
    if not path.exists():
        return False
    compared = records.read_json(path)
    return (compared["weights"], compared["flags"]) == (weights_of(run), run.predict)


def weights_of(run: Run) -> str:
    return str(rundir.read_summary(run.folder)["weights_sha256"])


def make(run: Run, ranks: Cluster, is_trained: bool, deadline: float | None) -> bool:
    """Train a run, unless it is trained, and predict; what both print goes into a file beside the run directory.

    Returns False if the training was told to stop.
    """
    with output_to(study_runs.beside(run.job, ".log") if ranks.is_root else os.devnull, run):
        if not is_trained:
            left_s = ranks.broadcast(max(1e-3, deadline - time.monotonic()) if deadline else 0.0)
            if train.main(run.job.config.replace(max_runtime_s=left_s)) != 0:
                return False
        config = run.predict_config
        predicted = predict.predict(config)
        cost_ms = prediction_ms(predicted, config)
    if ranks.is_root:
        found = {"flags": run.predict, "weights": weights_of(run), "prediction_ms": cost_ms}
        records.write_json(run.folder / records.COMPARED, found)
    gc.collect()  # the graphs of a run refer to each other
    return True


def prediction_ms(predicted: Predicted, config: PredictConfig) -> float:
    """Return the time of predicting 1,000 examples, in milliseconds, without compilation; every rank calls it."""
    x, y = predicted.x[:TIMED_EXAMPLES], predicted.y[:TIMED_EXAMPLES]
    predicted.predictor.score(x, y, config.num_draws)  # compiles
    watch = Stopwatch()
    predicted.predictor.score(x, y, config.num_draws)
    return 1e6 * watch.elapsed_s() / len(x)


@contextlib.contextmanager
def output_to(path: Any, run: Run) -> Iterator[None]:
    """Let the file `path` take what is printed; an error that is raised names the run."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            yield
        except (UserError, TrainingError) as error:
            raise type(error)(f"{run.name}: {error}") from None


def _nothing(*words: object, **how: object) -> None:
    """Print on rank 0 only."""
