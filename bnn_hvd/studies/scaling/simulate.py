"""`scale --simulate`: a run on up to 10,000 ranks, with stragglers, failures and checkpoints."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from bnn_hvd.config import ScaleConfig
from bnn_hvd.errors import UserError
from bnn_hvd.run import records
from bnn_hvd.studies.scaling import failures, predict, stragglers
from bnn_hvd.studies.scaling.collect import Row, Run
from bnn_hvd.studies.scaling.failures import Costs
from bnn_hvd.studies.scaling.model import Link

MOST_RANKS = 10_000
STEPS, REPLICAS = 2000, 200
FACTORS = np.geomspace(0.25, 4.0, 33)  # of Daly's interval: those that are simulated
NEVER = 100.0  # times the work: a run that is expected to take longer does not end
TOO_LONG = 3.0  # times the shortest expected time: intervals that are not simulated
FAILURES = 50  # of each replica, that choose between the intervals
MOST_FAILURES = 500  # that are simulated, of the first part of a longer run


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A run on a number of ranks: means over its replicas. Node hours are those of all nodes."""

    model: str
    ranks: int
    nodes: int
    steps: int
    compute_ms: float  # of a typical rank
    waiting_ms: float  # for the slowest
    communication_ms: float
    step_ms: float
    measured_ms: float | None  # the step, where it was measured on so many ranks
    mtbf_h: float  # of the job
    young_s: float  # between checkpoints, in seconds of steps
    daly_s: float
    best_s: float  # of those simulated
    failures: float
    hours: float  # to the accuracy, or to the end; inf: it does not get there
    node_hours: float
    checkpoint_node_hours: float
    lost_node_hours: float  # computed again, or starting again
    waiting_node_hours: float


def simulate(rows: Sequence[Row], runs: Sequence[Run], mode: str, link: Link, config: ScaleConfig) -> list[Simulation]:
    """Return the simulations of one model on the measured numbers of ranks, and on 2, 4, ... times the most of them.

    Raises:
      UserError: no run has reached --accuracy, or none has written a checkpoint and --checkpoint_s is missing.
    """
    base, per_node = rows[0], predict.ranks_per_node(rows)
    model = dataclasses.replace(predict.step_model(rows, mode, link), rest_ms=0.0)  # waiting is simulated
    spread, checkpoint = stragglers.measured(runs), config.checkpoint_s or checkpoint_s(runs)
    steps = (config.simulated_steps or first_steps(runs)) * share_of_steps(runs, config.accuracy)
    measured = {row.ranks: 1e3 * row.global_batch_size / row.examples_per_s for row in rows}
    found = []
    for ranks in sorted({*measured, *counts(rows[-1].ranks)}):
        if mode == "strong" and ranks > base.global_batch_size:
            continue
        nodes = max(1, ranks // per_node)
        batch_size = base.batch_size if mode == "weak" else base.global_batch_size / ranks
        work = Work(
            base.model, ranks, nodes, max(1, round(steps if mode == "strong" else steps * base.ranks / ranks)),
            model.compute_ms(batch_size), model.communication_ms(ranks), measured.get(ranks),
        )  # fmt: skip
        costs = Costs(checkpoint, config.restart_s, 3600 * config.node_mtbf_h / nodes)
        found.append(one(work, spread, costs, config.train["seed"]))
    return found


@dataclasses.dataclass(frozen=True)
class Work:
    """The steps of a run without stragglers, failures and checkpoints."""

    model: str
    ranks: int
    nodes: int
    steps: int
    compute_ms: float
    communication_ms: float
    measured_ms: float | None


def one(work: Work, spread: stragglers.Spread, costs: Costs, seed: int) -> Simulation:
    """Return the simulation of a run, at the best of the intervals between checkpoints."""
    slowest = float(stragglers.slowest(spread, work.ranks, STEPS, seed).mean()) if work.ranks > 1 else 1.0
    waiting_ms = (slowest - 1) * work.compute_ms
    step_ms = work.compute_ms + waiting_ms + work.communication_ms
    work_s = 1e-3 * step_ms * work.steps
    ends = failures.expected_s(work_s, failures.daly(costs), costs) < NEVER * work_s
    best_s = min(work_s, best_interval(costs, seed)) if ends else failures.daly(costs)
    outcome = replicas(work_s, best_s, costs, seed) if ends else (np.array(math.inf), np.array(math.inf))
    wall_s, count = (float(values.mean()) for values in outcome)
    checkpoints_s = math.ceil(work_s / best_s - 1e-9) * costs.checkpoint_s
    node_hours = work.nodes / 3600
    return Simulation(
        **dataclasses.asdict(work), waiting_ms=waiting_ms, step_ms=step_ms, mtbf_h=costs.mtbf_s / 3600,
        young_s=failures.young(costs), daly_s=failures.daly(costs), best_s=best_s, failures=count, hours=wall_s / 3600,
        node_hours=node_hours * wall_s, checkpoint_node_hours=node_hours * checkpoints_s,
        lost_node_hours=node_hours * (wall_s - work_s - checkpoints_s),
        waiting_node_hours=node_hours * 1e-3 * waiting_ms * work.steps,
    )  # fmt: skip


def best_interval(costs: Costs, seed: int) -> float:
    """Return the interval between checkpoints with the shortest mean time, over a stretch of many failures."""
    intervals = FACTORS * failures.daly(costs)
    stretch_s = FAILURES * costs.mtbf_s
    expected = np.array([failures.expected_s(stretch_s, float(each), costs) for each in intervals])
    hopeful = intervals[expected <= TOO_LONG * expected.min()]
    wall_s = failures.simulate(stretch_s, hopeful, costs, REPLICAS, seed).wall_s
    return float(hopeful[wall_s.mean(1).argmin()])


def replicas(work_s: float, interval_s: float, costs: Costs, seed: int) -> failures.Outcome:
    """Return replicas of a run with this interval, [1, R]: of the first part of one with very many failures."""
    expected = failures.expected_s(work_s, interval_s, costs)
    part = min(1.0, MOST_FAILURES * costs.mtbf_s / expected)
    outcome = failures.simulate(part * work_s, np.array([min(interval_s, part * work_s)]), costs, REPLICAS, seed)
    return failures.Outcome(*(values / part for values in outcome))


def counts(start: int) -> list[int]:
    """Return 1, 2, 4, ... times `start` up to MOST_RANKS, and MOST_RANKS."""
    return [*(start * 2**k for k in range(15) if start * 2**k < MOST_RANKS), MOST_RANKS]


def first_steps(runs: Sequence[Run]) -> int:
    """Return the steps of a run on the fewest ranks."""
    return min(runs, key=lambda run: run.ranks).steps


def share_of_steps(runs: Sequence[Run], accuracy: float) -> float:
    """Return the part of its steps that a run makes until its test accuracy is at least `accuracy`; 1 if that is 0.

    Raises:
      UserError: no run gets there.
    """
    if not accuracy:
        return 1.0
    shares = []
    for run in runs:
        rows = [row for row in records.read_jsonl(run.path / records.METRICS) if row["kind"] == "eval"]
        shares += [row["step"] / run.steps for row in rows if row.get("accuracy", 0.0) >= accuracy][:1]
    if not shares:
        raise UserError(
            f"no run has reached --accuracy={accuracy:g}: train longer, evaluate more often, or ask for less"
        )
    return float(np.median(shares))


def checkpoint_s(runs: Sequence[Run]) -> float:
    """Return the median seconds of a checkpoint.

    Raises:
      UserError: there is none.
    """
    found = [row["seconds"] for run in runs for row in records.read_timings(run.path, "checkpoint")]
    if not found:
        raise UserError("no run has written a checkpoint: --checkpoint_s gives the seconds that one takes")
    return float(np.median(found))


def table(found: Sequence[Simulation]) -> str:
    """Return the table that is printed."""
    lines = [
        f"{'model':18}{'ranks':>7}{'step ms':>9}{'waiting':>9}{'comm.':>8}{'measured':>10}{'MTBF h':>9}{'Young s':>9}"
        f"{'Daly s':>9}{'best s':>9}{'failures':>10}{'hours':>9}{'node h':>10}{'lost':>7}"
    ]
    for s in found:
        measured = "" if s.measured_ms is None else f"{s.measured_ms:.2f}"
        lost = (s.checkpoint_node_hours + s.lost_node_hours) / s.node_hours if math.isfinite(s.hours) else 1.0
        lines.append(
            f"{s.model:18}{s.ranks:7}{s.step_ms:9.2f}{s.waiting_ms:9.2f}{s.communication_ms:8.2f}{measured:>10}"
            f"{s.mtbf_h:9.4g}{s.young_s:9.0f}{s.daly_s:9.0f}{s.best_s:9.0f}{s.failures:10.3g}{s.hours:9.3g}"
            f"{s.node_hours:10.4g}{lost:7.1%}"
        )
    return "\n".join(lines)
