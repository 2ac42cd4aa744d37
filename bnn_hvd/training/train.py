"""`train`: the one loop, for every method, on one rank and on many. Read `main`, then `fit`."""

import dataclasses
import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds, targets
from bnn_hvd.config import TrainConfig, root_seed, to_flagfile
from bnn_hvd.data import sources, staging, standardize
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.pipeline import Examples, Shard
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.distributed import cluster, machine
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.errors import EXIT_INTERRUPTED, TrainingError
from bnn_hvd.inference import build as inference
from bnn_hvd.inference import checksums
from bnn_hvd.inference.compression import COMPRESSIONS
from bnn_hvd.inference.objective import Controls
from bnn_hvd.models.network import build
from bnn_hvd.prediction.predictor import Predictor
from bnn_hvd.registry import FULL_BATCH
from bnn_hvd.run import checkpoint, provenance, records, rundir
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.run.lock import claimed
from bnn_hvd.run.records import Stopwatch
from bnn_hvd.targets import Units
from bnn_hvd.training import chain_report, pace, report
from bnn_hvd.training.logbook import Logbook
from bnn_hvd.training.plan import Call, Plan
from bnn_hvd.training.population import Population, Whole
from bnn_hvd.training.stopping import StopRequest
from bnn_hvd.training.watchdog import START_PATIENCE, Watchdog

Loop = Callable[[Call], dict[str, np.ndarray]]  # runs the steps of a call, returns its scalars [T] by name
Evaluate = Callable[[Progress], dict[str, Any]]


def main(config: TrainConfig) -> int:
    """Train (a resolved config), or go on where the run directory stands; returns the exit code."""
    rundir.check_same_run(config)
    timeline = Path(config.run, records.TIMELINE) if config.timeline else None
    ranks = cluster.connect(
        timeline, config.num_particles > 1, config.compression, config.fusion_mb, config.gradient_blocks
    )
    threads = machine.set_up(config.threads, ranks, config.deterministic, config.method in FULL_BATCH)
    cluster.check_agreement(ranks, provenance.fingerprint(to_flagfile(config)), socket.gethostname())
    staged = staging.stage(config.data_dir, config.stage_dir, ranks)
    arrays = sources.load(config.dataset, staged, **sources.flags(config))
    population = Population(config, ranks)
    plan = Plan(config, len(arrays.x_train), population.cluster.rank, population.cluster.size)
    network = build(config, arrays.x_train.shape[1:], arrays.num_classes, arrays.num_items)
    units = targets.fit_units(arrays.y_train, arrays.num_classes, config.standardize_targets)
    method = inference.build(config, network, plan.num_train, population.cluster, population.members, units)
    state = method.init(seeds.seed(root_seed(config, "init"), "init"))
    checksums.flip_bit(state, config, network)
    if config.dry_run:
        if ranks.is_root:
            print(report.plan_text(plan, method, state, ranks.size))
        return 0

    with claimed(Path(config.run), ranks) as run:
        return train(method, state, population, arrays, units, plan, threads, run)


def train(
    method: Any, state: Any, population: Population, arrays: Arrays, units: Units, plan: Plan, threads: int, run: Path
) -> int:
    """Bring the run to its end, or to where it is told to stop; returns the exit code."""
    ranks, config = population.ranks, plan.config
    standardizer = standardize.fit(arrays.x_train, config.standardize)
    note_start(config, arrays, standardizer, units, threads, ranks)
    population.restore(state)
    # With another number of ranks than before, what is left of the epoch may fill no batch.
    progress = plan.advance(population.progress, 0)
    whole = Whole(method, state, population, config)
    predictor = Predictor(whole.method, whole.state, standardizer, ranks, config.seed, units)
    part = (arrays.x_train, units.standardized(arrays.y_train), standardizer)
    examples = Shard(*part, plan.shard) if plan.full_batch else Examples(*part, bool(config.augment))
    loop = compile_loop(method, state, examples, plan.batch_size)
    if config.checksums:
        loop = checksums.writing(loop, run, progress, ranks.is_root)
    with (
        Logbook(run, plan, progress, ranks) as logbook,
        StopRequest(config.max_runtime_s) as stop,
        Watchdog(run, ranks, config.stall_timeout_s) as watchdog,
    ):

        def evaluate(progress: Progress) -> dict[str, Any]:
            whole.collect()
            scores = predictor.score(arrays.x_test, arrays.y_test, config.eval_draws)
            logbook.evaluation(progress, scores)
            logbook.posterior(progress, method.network, *whole.method.marginals(whole.state))
            return scores

        if config.verbose:
            logbook.say(method.network.table())
        if progress.step == 0:
            logbook.posterior(progress, method.network, *method.marginals(state))
        progress, scores = fit(state, progress, loop, plan, population, logbook, evaluate, stop, watchdog)
    times = report.gather_times(logbook.timed, config.straggler_factor, ranks)
    whole.collect()
    if ranks.is_root:
        report.write(plan, progress, whole.state, method, threads, scores, times, ranks.size)
        if plan.full_batch:
            logbook.say(chain_report.write(plan, whole.method.method, whole.state))
    ranks.barrier()
    return 0 if scores else EXIT_INTERRUPTED


def fit(
    state: Any,
    progress: Progress,
    loop: Loop,
    plan: Plan,
    population: Population,
    logbook: Logbook,
    evaluate: Evaluate,
    stop: StopRequest,
    watchdog: Watchdog,
) -> tuple[Progress, dict[str, Any] | None]:
    """Train until the plan is finished or all ranks agree to stop.

    Returns the progress, and the scores of the last evaluation (None if the run is not finished).

    Raises:
      TrainingError: the loss of some rank is not finite, or the weights of the ranks differ.
    """
    folder, config, ranks = logbook.run / records.CHECKPOINTS, plan.config, population.ranks
    scores = evaluate(progress) if plan.finished(progress) else None
    lower = "--hmc_step_size" if plan.full_batch else "--learning_rate"
    way_out = f"Lower {lower}, or look at the data of that step{COMPRESSIONS[config.compression].hint}"
    first_call, step_s = True, math.inf
    while not plan.finished(progress):
        # The first call is one step, and its time, mostly tracing, is kept apart from the training time.
        call = plan.next_call(progress, 1 if first_call else pace.steps_of_call(config.steps_per_call, step_s))
        first, last = progress.step + 1, progress.step + call.steps
        watchdog.enter(f"steps {first} to {last}", START_PATIENCE if first_call else 1.0)
        watch = Stopwatch()
        history = loop(call)
        seconds = watch.elapsed_s()
        step_s = seconds / call.steps
        stopping, step_s = agree(stop.requested(), step_s, history["loss_here"], progress.step, ranks, way_out)
        progress = count(plan.advance(progress, call.steps), call.steps, seconds, first_call, plan)
        communication_s = float(history["communication_s"].sum())
        phase = "compile" if first_call else "train"
        logbook.time(progress, phase, seconds, steps=call.steps, communication_s=communication_s)
        logbook.steps(progress, history, call)
        first_call = False

        if stopping or plan.evaluation_due(progress) or plan.checkpoint_due(progress):
            assert_weights_finite(state, progress.step, ranks, way_out)
        if plan.evaluation_due(progress):
            watchdog.enter(f"the evaluation after step {progress.step}")
            watch = Stopwatch()
            scores = evaluate(progress)
            logbook.time(progress, "eval", watch.elapsed_s())
        if stopping or plan.checkpoint_due(progress):
            watchdog.enter(f"the checkpoint after step {progress.step}")
            watch = Stopwatch()
            save(folder, state, progress, config.keep, population)
            logbook.time(progress, "checkpoint", watch.elapsed_s())
        if stopping and not plan.finished(progress):
            logbook.say(f"stopped early at step {progress.step}; the same command goes on from there")
            return progress, None
    return progress, scores


def compile_loop(method: Any, state: Any, examples: Examples | Shard, batch_size: int) -> Loop:
    """Return the compiled loop over the steps of a call; it is traced once."""
    names: list[str] = []
    # Only the loop itself is rewritten into a graph: AutoGraph would rewrite all that it calls, Horovod included.
    step, take = (tf.autograph.experimental.do_not_convert(f) for f in (method.step, examples.take))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, batch_size], tf.int32),
            tf.TensorSpec([None, 2], tf.int64),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None, None, None], tf.int32),
        ]
    )
    def loop(index_TB, seeds_T2, learning_rate_T, kl_weight_T, augment_TB3):  # type: ignore[no-untyped-def]
        steps = tf.shape(index_TB)[0]
        history = tf.TensorArray(tf.float32, steps)
        for i in tf.range(steps):
            # Horovod refuses two of its operations with one name at a time: no two steps may overlap.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            controls = Controls(seeds_T2[i], learning_rate_T[i], kl_weight_T[i])
            batch = take(index_TB[i], augment_TB3[i]) if examples.augmented else take(index_TB[i])
            scalars = step(state, batch, controls)
            names[:] = scalars
            history = history.write(i, tf.stack(list(scalars.values())))
        return history.stack()

    return lambda call: dict(zip(names, loop(*call).numpy().T, strict=True))


def agree(
    stop: bool, step_s: float, loss_here_T: np.ndarray, first_step: int, ranks: Cluster, way_out: str = ""
) -> tuple[bool, float]:
    """Return whether any rank is to stop, and the time of a step of the slowest rank: all in one all-reduce.

    way_out: what to try where the loss is not finite.

    Raises:
      TrainingError: the loss of some rank is not finite; it names the first step and rank.
    """
    bad = np.flatnonzero(~np.isfinite(loss_here_T))
    some_bad, stopping, slowest_s = ranks.max([len(bad) > 0, stop, step_s])
    if not some_bad:
        return bool(stopping), slowest_s
    step, rank = min((int(first), rank) for rank, first in enumerate(ranks.gather(bad[0] if len(bad) else 1e9)))
    raise TrainingError(
        f"the loss is not finite at step {first_step + step + 1} on rank {rank}; the last checkpoint is kept. {way_out}"
    )


def assert_weights_finite(state: Any, step: int, ranks: Cluster, way_out: str = "") -> None:
    """Stop before weights that a finite loss led to infinity are evaluated, or become the newest checkpoint."""
    if ranks.any(not np.isfinite(state.params.numpy()).all()):
        raise TrainingError(f"the weights are not finite after step {step}; the last checkpoint is kept. {way_out}")


def count(progress: Progress, steps: int, seconds: float, first_call: bool, plan: Plan) -> Progress:
    """Return `progress` with the time of a call added to what it belongs to."""
    if first_call:
        return dataclasses.replace(progress, compile_s=progress.compile_s + seconds)
    return dataclasses.replace(
        progress,
        train_wall_s=progress.train_wall_s + seconds,
        timed_steps=progress.timed_steps + steps,
        timed_examples=progress.timed_examples + steps * plan.global_batch_size,
    )


def save(folder: Path, state: Any, progress: Progress, keep: int, population: Population) -> None:
    """Assert that ranks that train the same hold the same weights, then let rank 0 write the whole state."""
    population.assert_same(state, progress.step)
    arrays = population.collect(state)
    if population.ranks.is_root:
        checkpoint.save(folder, arrays, progress, keep)


def note_start(
    config: TrainConfig, arrays: Arrays, standardizer: Standardizer, units: Units, threads: int, ranks: Cluster
) -> None:
    """Let rank 0 write what the run is, and where this session of it takes place."""
    session = provenance.session(ranks.gather(socket.gethostname()), ranks.size, threads)
    if ranks.is_root:
        fitted = {"standardizer": standardizer.to_dict(), "target_units": dataclasses.asdict(units)}
        rundir.describe(config, sources.describe(arrays) | fitted)
        path = Path(config.run) / records.PROVENANCE
        records.write_json(path, [*(records.read_json(path) if path.exists() else []), session])
