"""What a training run says of itself at its end (summary.json) and before its start (--dry_run)."""

import hashlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.config import to_flagfile
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.compression import COMPRESSIONS
from bnn_hvd.run import records
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.training import rank_times
from bnn_hvd.training.plan import Plan


def gather_times(timed: Sequence[rank_times.Call], straggler_factor: float, ranks: Cluster) -> dict[str, Any]:
    """Return the entries of summary.json on the time of a step by rank; rank 0 warns of stragglers."""
    times = ranks.gather(rank_times.rank_time(socket.gethostname(), timed))
    warning = rank_times.straggler_warning(times, straggler_factor)
    if warning and ranks.is_root:
        print(warning, file=sys.stderr, flush=True)
    return rank_times.summary(times)


def write(
    plan: Plan, progress: Progress, state: Any, method: Any, threads: int,
    scores: dict[str, Any] | None, times: dict[str, Any], ranks: int,
) -> None:  # fmt: skip
    """Write summary.json. A finished run that was started again keeps its times."""
    path = Path(plan.config.run) / records.SUMMARY
    if path.exists() and times["step_ms_by_rank"] is None:
        times = {name: records.read_json(path).get(name, value) for name, value in times.items()}
    records.write_json(path, summary(plan, progress, state, method, threads, scores, ranks) | times)


def summary(
    plan: Plan,
    progress: Progress,
    state: Any,
    method: Any,
    threads: int,
    scores: dict[str, Any] | None,
    ranks: int,
) -> dict[str, Any]:
    """Return the content of summary.json."""
    config = plan.config
    timings = records.read_jsonl(Path(config.run) / records.TIMINGS)
    step_ms = [1e3 * row["seconds"] / row["steps"] for row in timings if row["phase"] == "train"]
    return {
        "status": "done" if scores else "interrupted",
        "model": config.model,
        "dataset": config.dataset,
        "num_train": plan.num_train,
        "num_particles": config.num_particles,
        "num_parameters": int(state.params.shape[-1]),  # of one particle
        "num_weights": method.network.num_parameters,
        "ranks": ranks,
        "threads": threads,
        "batch_size": config.batch_size,
        "global_batch_size": plan.global_batch_size,
        "steps": progress.step,
        "epochs": plan.fractional_epoch(progress),
        "examples_seen": progress.examples_seen,
        "seed": config.seed,
        "train_wall_s": progress.train_wall_s,
        "compile_s": progress.compile_s,
        "step_ms_median": float(np.median(step_ms)) if step_ms else None,
        "examples_per_s": progress.timed_examples / progress.train_wall_s if progress.train_wall_s else None,
        "allreduce_bytes_per_step": bytes_per_step(plan, method),
        "weights_sha256": hashlib.sha256(state.params.numpy().tobytes()).hexdigest(),
        "test": scores,
    }


def bytes_per_step(plan: Plan, method: Any) -> int:
    """Return the bytes that each rank hands to the all-reduces of a step: of one particle, or of all its chains."""
    config = plan.config
    chains = config.num_particles // config.chain_groups if plan.full_batch else 1
    each = COMPRESSIONS[config.compression].dtype.size
    return each * chains * method.num_reduced() if plan.size > 1 else 0


def plan_text(plan: Plan, method: Any, state: Any, ranks: int) -> str:
    """Return what --dry_run prints."""
    network = method.network
    trained = int(state.params.shape[-1])
    rows = {
        "ranks": ranks,
        "training examples": plan.num_train,
        "steps": f"{plan.total_steps} ({plan.steps_per_epoch} per epoch)",
        "weights": f"{network.num_parameters} ({network.num_bayesian} with a distribution)",
        "trained parameters": trained,
        "bytes all-reduced per step": bytes_per_step(plan, method),
    }
    if network.of_example:
        rows["parameters of examples"] = plan.num_train * network.num_of_example
        rows["bytes of kept draws"] = method.method.kept_bytes
    table = [f"{name:28}{value}" for name, value in rows.items()]
    return "\n".join([to_flagfile(plan.config) + network.table(), *table])
