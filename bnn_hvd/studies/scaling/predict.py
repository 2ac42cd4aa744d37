"""The prediction for more ranks than were measured: the measured computation, and the all-reduce of the model."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from bnn_hvd.studies.scaling.collect import Row
from bnn_hvd.studies.scaling.model import Link, allreduce_s, coordination_s, nonnegative

MOST_NODES = 1024


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction of one model on a number of ranks. The first prediction is on a number that was measured."""

    model: str
    ranks: int
    nodes: int
    batch_size: float
    compute_ms: float
    communication_ms: float
    step_ms: float
    eval_s: float | None  # an evaluation; None if none was measured
    examples_per_s: float
    speed_up: float
    efficiency: float


@dataclasses.dataclass(frozen=True)
class StepModel:
    """The time of a step: fixed_ms + per_example_ms * batch size + rest_ms + the time of its all-reduces.

    rest_ms: the measured time that neither computation nor the all-reduces explain: waiting for slower ranks.
    num_bytes: of all all-reduces of a step. eval_fixed_s, eval_shared_s: of an evaluation, whose examples ranks share.
    """

    fixed_ms: float
    per_example_ms: float
    rest_ms: float
    num_bytes: int
    allreduces: int
    link: Link
    eval_fixed_s: float = 0.0
    eval_shared_s: float = 0.0

    def compute_ms(self, batch_size: float) -> float:
        return self.fixed_ms + self.per_example_ms * batch_size

    def communication_ms(self, ranks: int) -> float:
        return self.rest_ms + communication_ms(ranks, self.num_bytes, self.allreduces, self.link) if ranks > 1 else 0.0

    def eval_s(self, ranks: int) -> float | None:
        return self.eval_fixed_s + self.eval_shared_s / ranks or None


def communication_ms(ranks: int, num_bytes: float, allreduces: int, link: Link) -> float:
    """Return the time of the all-reduces of a step, which share `num_bytes`, with their coordination."""
    each_s = allreduce_s(ranks, num_bytes / allreduces, link.alpha_s, link.beta_s_per_byte)
    return 1e3 * allreduces * (each_s + coordination_s(ranks, link.alpha_s))


def step_model(rows: Sequence[Row], mode: str, link: Link) -> StepModel:
    """Return the model of a step, fitted to the rows of one network.

    It is exact for the largest run measured, unless the model alone says more than was measured.
    """
    largest = rows[-1]
    sizes = (largest.reduced_bytes_per_step, largest.allreduces_per_step)
    model = StepModel(*compute_model(rows, mode), 0.0, *sizes, link, *eval_model(rows))
    if largest.ranks == 1:
        return model
    step_ms = 1e3 * largest.global_batch_size / largest.examples_per_s
    rest_ms = step_ms - model.compute_ms(largest.batch_size) - model.communication_ms(largest.ranks)
    return dataclasses.replace(model, rest_ms=max(0.0, rest_ms))


def compute_model(rows: Sequence[Row], mode: str) -> tuple[float, float]:
    """Return (fixed_ms, per_example_ms) of the computation.

    weak: the batch of a rank stays, so the time is the measured one. strong: a line is fitted to the times at the
    measured batch sizes; with a single batch size the time is proportional to it, without a fixed part.
    """
    if mode == "weak":
        return rows[-1].compute_ms, 0.0
    return line([(row.batch_size, row.compute_ms) for row in rows])


def eval_model(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the seconds of an evaluation that each rank takes, and those that the ranks share; (0, 0) without one."""
    measured = [(1 / row.ranks, row.eval_s) for row in rows if row.eval_s is not None]
    return line(measured) if measured else (0.0, 0.0)


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return (a, b) >= 0 of y = a + b x, through points (x, y); a = 0 if they have one x."""
    x, y = np.array(points).T
    if len(set(x)) == 1:
        return 0.0, float(y[0] / x[0])
    a, b = nonnegative(np.stack([np.ones_like(x), x], 1), y)
    return float(a), float(b)


def predict(rows: Sequence[Row], mode: str, link: Link) -> list[Prediction]:
    """Return the predictions for one model on 1, 2, 4, ... times the nodes of its largest run, up to 1,024 nodes.

    strong: only as long as each rank has at least one example of the global batch.
    """
    base, largest = rows[0], rows[-1]
    model = step_model(rows, mode, link)
    per_node = ranks_per_node(rows)
    start = largest.ranks // per_node
    return [
        _prediction(model, base, nodes * per_node, nodes, mode)
        for nodes in doubled(start)
        if mode == "weak" or nodes * per_node <= base.global_batch_size
    ]


def doubled(start: int) -> list[int]:
    """Return 1, 2, 4, ... times `start`, and MOST_NODES as the last if it is more."""
    return sorted({min(start * 2**k, max(start, MOST_NODES)) for k in range(12)})


def ranks_per_node(rows: Sequence[Row]) -> int:
    """Return the ranks per node of the prediction: as many as were measured, one if all runs were on one node."""
    largest = max(rows, key=lambda row: row.nodes)
    return max(1, largest.ranks // largest.nodes) if largest.nodes > 1 else 1


def _prediction(model: StepModel, base: Row, ranks: int, nodes: int, mode: str) -> Prediction:
    batch_size = base.batch_size if mode == "weak" else base.global_batch_size / ranks
    compute_ms, communication_ms = model.compute_ms(batch_size), model.communication_ms(ranks)
    step_ms = compute_ms + communication_ms
    examples_per_s = 1e3 * batch_size * ranks / step_ms
    speed_up = examples_per_s / base.examples_per_s
    return Prediction(
        base.model, ranks, nodes, batch_size, compute_ms, communication_ms, step_ms, model.eval_s(ranks),
        examples_per_s, speed_up, speed_up * base.ranks / ranks,
    )  # fmt: skip
