"""From run directories to one row per model and number of ranks. Needs no TensorFlow."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.errors import UserError
from bnn_hvd.run import records, rundir


@dataclasses.dataclass(frozen=True)
class Run:
    """The sizes and times of one finished run."""

    path: Path
    model: str
    data: str  # data set and number of training examples
    length: str  # --epochs or --steps
    ranks: int
    nodes: int
    threads: int
    batch_size: int
    global_batch_size: int
    num_train: int
    steps: int
    num_particles: int
    num_weights: int
    num_parameters: int
    allreduce_bytes_per_step: int
    reduced_bytes_per_step: int  # the same, and on one rank what more of them would send
    allreduces_per_step: int
    train_wall_s: float
    examples_per_s: float
    communication_ms: float
    step_ms: tuple[float, ...]  # by rank; of rank 0 alone if the others were not gathered
    compute_ms: tuple[float, ...]  # likewise
    eval_s: float | None  # the last evaluation; the first one may compile
    rank_groups: int  # of chains, whose ranks share the data of each step; 0: mini-batches


@dataclasses.dataclass(frozen=True)
class Row:
    """A model on a number of ranks: medians over the repeats (for a step, also over the ranks), with the extremes."""

    model: str
    ranks: int
    nodes: int
    threads: int
    repeats: int
    batch_size: int
    global_batch_size: int
    num_parameters: int
    train_wall_s: float
    train_wall_s_min: float
    train_wall_s_max: float
    step_ms: float
    step_ms_min: float
    step_ms_max: float
    compute_ms: float  # the step without communication
    compute_ms_min: float
    compute_ms_max: float
    communication_ms: float  # the all-reduce, and the wait for slower ranks
    communication_share: float  # of the step; communication and computation do not overlap
    allreduce_bytes_per_step: int
    reduced_bytes_per_step: int  # the same, and on one rank what more of them would send
    allreduces_per_step: int
    eval_s: float | None  # an evaluation; None if a run had none
    examples_per_s: float
    speed_up: float  # in examples per second, against the fewest ranks
    efficiency: float  # speed-up / (ranks / fewest ranks)


FROM_ELSEWHERE = {  # not of summary.json
    "path", "data", "length", "nodes", "step_ms", "compute_ms", "communication_ms", "eval_s", "rank_groups"
}  # fmt: skip


def read(path: Path) -> Run | None:
    """Return the sizes and times of a run, None if it is not finished.

    Raises:
      UserError: the run has no timed step.
    """
    if not (path / records.SUMMARY).exists():
        return None
    summary, config = records.read_table(path / records.SUMMARY), rundir.read_config(path)
    if summary.get("status") != "done":
        return None
    if missing := {f.name for f in dataclasses.fields(Run)} - set(summary) - FROM_ELSEWHERE:
        raise UserError(f"{path / records.SUMMARY} has no {', '.join(sorted(missing))}: it is of another version")
    if not summary["train_wall_s"]:
        raise UserError(f"{path} has no timed step (the first one, which compiles, does not count): train longer")
    same = {f.name for f in dataclasses.fields(Run)} & set(summary)
    return Run(
        path=path,
        data=f"{summary['dataset']}, {summary['num_train']:,} examples",
        length=f"{config.run.steps} steps" if config.run.steps else f"{config.run.epochs} epochs",
        nodes=summary.get("nodes") or _nodes(path),
        eval_s=_eval_s(path),
        rank_groups=config.method.options.rank_groups,
        **_times(path, summary),
        **{name: summary[name] for name in same - {"nodes", "communication_ms"}},
    )


def _times(path: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Return the times of a step by rank; those of rank 0 from its log if the last session timed no step."""
    if summary.get("step_ms_by_rank"):
        return {
            "step_ms": tuple(summary["step_ms_by_rank"]), "compute_ms": tuple(summary["compute_ms_by_rank"]),
            "communication_ms": summary["communication_ms"],
        }  # fmt: skip
    calls = records.read_timings(path, "train")
    steps = sum(row["steps"] for row in calls)
    step, communication = (1e3 * sum(row[key] for row in calls) / steps for key in ("seconds", "communication_s"))
    return {"step_ms": (step,), "compute_ms": (step - communication,), "communication_ms": communication}


def _eval_s(path: Path) -> float | None:
    found = [row["seconds"] for row in records.read_timings(path, "eval")]
    return found[-1] if found else None


def _nodes(path: Path) -> int:
    return len(set(records.read_json(path / records.PROVENANCE)[-1]["hosts"]))


def read_all(paths: Sequence[Path]) -> list[Run]:
    """Return the finished runs among `paths`; prints which are left out.

    Raises:
      UserError: there is none.
    """
    runs = {path: read(path) for path in paths if path.is_dir()}
    for path in [path for path, run in runs.items() if run is None]:
        print(f"left out: {path} is not a finished run")
    finished = [run for run in runs.values() if run]
    if not finished:
        raise UserError("there is no finished run to collect: --runs='runs/study/*' names run directories, in quotes")
    return finished


def check_comparable(runs: Sequence[Run], *names: str) -> None:
    """Raise UserError if the runs differ in one of the named fields."""
    for what in names:
        different = sorted({str(getattr(run, what)) for run in runs})
        if len(different) > 1:
            raise UserError(f"the runs can't be compared: they differ in {what} ({'; '.join(different)})")


def mode(runs: Sequence[Run], given: str = "strong") -> str:
    """Return whether the runs keep the global batch (strong scaling) or the batch of a rank (weak scaling).

    given: the answer if they keep both, as runs on one number of ranks do.

    Raises:
      UserError: they keep neither, or they differ in data or length, so that their times can't be compared.
    """
    check_comparable(runs, "data", "length")
    strong = len({run.global_batch_size for run in runs}) == 1
    weak = len({run.batch_size for run in runs}) == 1
    if not (strong or weak):
        sizes = sorted({f"{run.ranks} x {run.batch_size}" for run in runs})
        raise UserError(
            "the runs keep neither the global batch (strong scaling) nor the batch of a rank (weak): "
            f"ranks x batch size are {', '.join(sizes)}"
        )
    return given if strong and weak else "strong" if strong else "weak"


def rows(runs: Sequence[Run]) -> list[Row]:
    """Return one row per model and number of ranks, in the order of the models.

    Raises:
      UserError: the smallest numbers of ranks differ between models, or repeats differ in more than their times.
    """
    models = list(dict.fromkeys(run.model for run in runs))
    fewest = {model: min(run.ranks for run in runs if run.model == model) for model in models}
    if len(set(fewest.values())) > 1:
        raise UserError(
            f"the models differ in their smallest number of ranks ({fewest}), to which speed-ups are relative: train "
            "each of them on all --ranks"
        )
    result = []
    for model in models:
        mine = [run for run in runs if run.model == model]
        groups = [[run for run in mine if run.ranks == ranks] for ranks in sorted({run.ranks for run in mine})]
        base = float(np.median([run.examples_per_s for run in groups[0]]))
        result += [_row(group, base, fewest[model]) for group in groups]
    return result


def _row(group: Sequence[Run], base_examples_per_s: float, base_ranks: int) -> Row:
    """Return the row of the repeats of one model on one number of ranks."""
    first = group[0]
    for what in ("nodes", "threads", "batch_size", "num_parameters", "allreduce_bytes_per_step"):
        different = sorted({getattr(run, what) for run in group})
        if len(different) > 1:
            named = f"runs of {first.model} on {first.ranks} ranks differ in {what} ({different})"
            raise UserError(f"{named}: collect them apart, by --runs")
    speed_up = float(np.median([run.examples_per_s for run in group])) / base_examples_per_s
    step_ms = [time for run in group for time in run.step_ms]
    communication_ms = float(np.median([run.communication_ms for run in group]))
    evaluations = [run.eval_s for run in group if run.eval_s is not None]
    kept = (
        "model", "ranks", "nodes", "threads", "batch_size", "global_batch_size", "num_parameters",
        "allreduce_bytes_per_step", "reduced_bytes_per_step", "allreduces_per_step",
    )  # fmt: skip
    return Row(
        **{name: getattr(first, name) for name in kept},
        repeats=len(group),
        **_spread("train_wall_s", [run.train_wall_s for run in group]),
        **_spread("step_ms", step_ms),
        **_spread("compute_ms", [time for run in group for time in run.compute_ms]),
        communication_ms=communication_ms,
        communication_share=communication_ms / float(np.median(step_ms)),
        eval_s=float(np.median(evaluations)) if evaluations else None,
        examples_per_s=speed_up * base_examples_per_s,
        speed_up=speed_up,
        efficiency=speed_up * base_ranks / first.ranks,
    )


def _spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    return {name: float(np.median(values)), f"{name}_min": min(values), f"{name}_max": max(values)}


def as_csv(items: Sequence[Any]) -> str:
    """Return dataclasses of one type as CSV, with a header."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [f.name for f in dataclasses.fields(items[0])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(item) for item in items)
    return buffer.getvalue()


def as_json(items: Sequence[Any]) -> str:
    return records.to_json([dataclasses.asdict(item) for item in items], indent=2) + "\n"


def table(rows: Sequence[Row]) -> str:
    """Return the table that is printed."""
    lines = [
        f"{'model':18}{'ranks':>6}{'nodes':>6}{'threads':>8}{'train s':>9}{'step ms':>9}{'range':>16}{'comm. ms':>10}"
        + f"{'share':>7}{'examples/s':>12}{'speed-up':>9}{'efficiency':>11}"
    ]
    for r in rows:
        spread = f"{r.step_ms_min:.2f}-{r.step_ms_max:.2f}"
        lines.append(
            f"{r.model:18}{r.ranks:6}{r.nodes:6}{r.threads:8}{r.train_wall_s:9.2f}{r.step_ms:9.2f}{spread:>16}"
            f"{r.communication_ms:10.2f}{r.communication_share:7.0%}{r.examples_per_s:12,.0f}{r.speed_up:9.2f}"
            f"{r.efficiency:11.0%}"
        )
    return "\n".join(lines)
