"""The summary of a training run: summary.json at its end, and the text of --dry_run before its start."""

import hashlib
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnn_hvd.config import to_flagfile
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.compression import COMPRESSIONS
from bnn_hvd.inference.hmc import Hmc
from bnn_hvd.inference.method import State
from bnn_hvd.metrics.convergence import Verdict
from bnn_hvd.run import records, rundir
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.training import rank_times
from bnn_hvd.training.task import Task


def gather_times(timed: Sequence[rank_times.Call], straggler_factor: float, ranks: Cluster) -> dict[str, Any]:
    """Return the entries of summary.json on the time of a step by rank; rank 0 prints a warning of stragglers."""
    times = ranks.gather(rank_times.rank_time(socket.gethostname(), timed))
    warning = rank_times.straggler_warning(times, straggler_factor)
    if warning and ranks.is_root:
        print(warning, file=sys.stderr, flush=True)
    return rank_times.summary(times)


def write(
    task: Task, state: State, progress: Progress, scores: dict[str, Any] | None, times: dict[str, Any], verdict: Verdict
) -> None:
    """Write summary.json. A finished run that was started again keeps its times.

    state: the gathered state.
    scores: of the last evaluation; None if the run is not finished.
    verdict: whether it has converged; written if the run is finished.
    """
    path = task.config.folder / records.SUMMARY
    before = rundir.read_summary(task.config.folder)
    if times["step_ms_by_rank"] is None:
        times = {name: before.get(name, value) for name, value in times.items()}
    finished = time.strftime("%Y-%m-%dT%H:%M:%S%z") if scores else None
    if progress.step == task.population.progress.step:  # nothing was left to train
        finished = before.get("finished", finished)
    more = {"finished": finished, "convergence": verdict._asdict() if scores else None}
    records.write_json(path, summary(task, state, progress, scores) | times | more)


def start_text(task: Task, progress: Progress) -> str:
    """Return the lines that `train` prints at its start: what it trains, on what, where, and from which step."""
    config, plan, ranks = task.config, task.plan, task.ranks
    particles = f"{config.method.num_particles} particles of " if config.method.num_particles else ""
    batch = "all of them in each step" if plan.full_batch else f"{plan.global_batch_size} in each step"
    return "\n".join([
        f"train: {particles}{config.network.architecture} by {config.method.name}, "
        f"{task.method.network.num_parameters:,} weights",
        f"data: {config.data.dataset}, {plan.num_train:,} training examples, {batch}; {len(task.arrays.x_test):,} for "
        f"testing",
        f"ranks: {ranks.size}, {ranks.local_size} of them on {socket.gethostname()}; threads of each: {task.threads}",
        f"run: {config.folder.absolute()}",
        _course(task, progress),
    ])  # fmt: skip


def _course(task: Task, progress: Progress) -> str:
    total = task.plan.total_steps
    if task.plan.finished(progress):
        when = rundir.read_summary(task.config.folder).get("finished")
        since = f" on {when}" if when else ""
        return f"finished{since} at step {progress.step}: nothing is left to train; the test part is scored again"
    new = f" of the particles from {progress.first_member} on" if progress.first_member else ""
    if progress.step:
        return f"goes on after step {progress.step} of {total}{new}"
    return f"steps: {total}{new}; the first takes longer, because it compiles"


def end_text(task: Task, progress: Progress) -> str:
    """Return the line that `train` prints at the end of a finished run, with the next command."""
    run = shlex.quote(str(task.config.folder))
    return (
        f"{'converged: ' * progress.converged}done at step {progress.step}. Next: python -m bnn_hvd predict --run={run}"
    )


def summary(task: Task, state: State, progress: Progress, scores: dict[str, Any] | None) -> dict[str, Any]:
    """Return the content of summary.json, without the times by rank."""
    config, plan = task.config, task.plan
    step_ms = [1e3 * row["seconds"] / row["steps"] for row in records.read_timings(config.folder, "train")]
    return {
        "status": "done" if scores else "interrupted",
        "model": config.network.model,
        "dataset": config.data.dataset,
        "num_train": plan.num_train,
        "num_particles": config.method.num_particles,
        "num_parameters": int(state.params.shape[-1]),  # of one particle
        "num_weights": task.method.network.num_parameters,
        "ranks": task.ranks.size,
        "threads": task.threads,
        "batch_size": config.data.examples_per_rank,
        "global_batch_size": plan.global_batch_size,
        "steps": progress.step,
        "epochs": plan.fractional_epoch(progress),
        "examples_seen": progress.examples_seen,
        "seed": config.run.seed,
        "train_wall_s": progress.train_wall_s,
        "compile_s": progress.compile_s,
        "step_ms_median": float(np.median(step_ms)) if step_ms else None,
        "examples_per_s": progress.timed_examples / progress.train_wall_s if progress.train_wall_s else None,
        "allreduce_bytes_per_step": bytes_per_step(task),
        "reduced_bytes_per_step": reduced_bytes(task),
        "allreduces_per_step": task.method.num_allreduces(),
        "weights_sha256": hashlib.sha256(state.params.numpy().tobytes()).hexdigest(),
        "test": scores,
    }


def bytes_per_step(task: Task) -> int:
    """Return the bytes that each rank hands to the all-reduces of a step; 0 if no other rank trains the same."""
    return reduced_bytes(task) if task.plan.size > 1 else 0


def reduced_bytes(task: Task) -> int:
    """Return the bytes that a step sums over the data, for one particle, or for all chains of a rank."""
    config = task.config
    chains = config.method.num_particles // config.method.options.rank_groups if task.plan.full_batch else 1
    return COMPRESSIONS[config.machine.compression].dtype.size * chains * task.method.num_reduced()


def plan_text(task: Task) -> str:
    """Return the text that --dry_run prints: all flags, the layers, and the size of the run."""
    network, plan, base = task.method.network, task.plan, task.method.base
    with_scales = bool(task.config.method.options.has_scales)
    rows = {
        "ranks": task.ranks.size,
        "training examples": plan.num_train,
        "steps": f"{plan.total_steps} ({plan.steps_per_epoch} per epoch)",
        "weights": f"{network.num_parameters}{f' ({network.num_bayesian} with a distribution)' * with_scales}",
        "trained parameters": int(task.state.params.shape[-1]),
        "bytes all-reduced per step": bytes_per_step(task),
    }
    if isinstance(base, Hmc) and network.local_parameters:
        rows["local latents"] = plan.num_train * network.num_local
        rows["bytes of kept draws"] = base.kept_bytes
    table = [f"{name:28}{value}" for name, value in rows.items()]
    return "\n".join([to_flagfile(task.config) + network.table(with_scales), *table])
