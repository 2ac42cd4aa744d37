"""Has a round of training converged? Collects what the verdict is made of; metrics/convergence.py judges."""

from typing import Any

from bnn_hvd.metrics import convergence
from bnn_hvd.metrics.convergence import Row, Verdict
from bnn_hvd.run import records
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.training.plan import Plan
from bnn_hvd.training.population import GatheredState
from bnn_hvd.training.schedules import Round
from bnn_hvd.training.task import Task


def of_round(task: Task, gathered: GatheredState, progress: Progress) -> Verdict:
    """Return the verdict on the round that ends here; of an ensemble, on the members trained last. Of rank 0 alone."""
    ended = task.plan.round_ended(progress) or task.plan.rounds[-1]
    rows = rows_of_round(task.plan, progress.first_member, ended)
    diagnostics = task.config.folder / records.DIAGNOSTICS
    if diagnostics.exists():
        return convergence.judge(task.config.method.name, rows, records.read_json(diagnostics))
    found: dict[str, Any] = dict(gathered.method.signs_of_convergence(gathered.state))
    if ended.first:
        before = next(one for one in task.plan.rounds if one.last == ended.first)
        found["loss_before"] = convergence.final_loss(rows_of_round(task.plan, progress.first_member, before))
    return convergence.judge(task.config.method.name, rows, found)


def rows_of_round(plan: Plan, first_member: int, one: Round) -> list[Row]:
    """Return the rows of the log that are of a round; their steps count from its start."""
    unit = "step" if plan.config.run.steps else "epoch"
    rows = [
        row for row in records.read_jsonl(plan.config.folder / records.METRICS)
        if row["kind"] == "train" and row["first_member"] == first_member and row[unit] <= one.last
    ]  # fmt: skip
    start = max((row["step"] for row in rows if row[unit] <= one.first), default=0)
    return convergence.uncut([row for row in rows if row["step"] > start], start, plan.config.run.log_every_steps)
