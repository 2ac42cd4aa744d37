"""The prediction for more ranks than were measured: the measured computation, and the all-reduce of the model."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from bnn_hvd.studies.scaling.collect import Row
from bnn_hvd.studies.scaling.model import Link, nonnegative, ring_s

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
    examples_per_s: float
    speed_up: float
    efficiency: float


@dataclasses.dataclass(frozen=True)
class StepModel:
    """The time of a step: fixed_ms + per_example_ms * batch size + rest_ms + the time of the ring all-reduce.

    rest_ms: the measured time that neither computation nor the ring explains: coordination of the ranks, and waiting.
    """

    fixed_ms: float
    per_example_ms: float
    rest_ms: float
    num_bytes: int
    link: Link

    def compute_ms(self, batch_size: float) -> float:
        return self.fixed_ms + self.per_example_ms * batch_size

    def communication_ms(self, ranks: int) -> float:
        ring_ms = 1e3 * float(ring_s(ranks, self.num_bytes, self.link.alpha_s, self.link.beta_s_per_byte))
        return ring_ms + self.rest_ms if ranks > 1 else 0.0


def step_model(rows: Sequence[Row], mode: str, link: Link) -> StepModel:
    """Return the model of a step, fitted to the rows of one network; it is exact for the largest run measured."""
    largest = rows[-1]
    model = StepModel(*compute_model(rows, mode), 0.0, largest.gradient_bytes, link)
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
    if len({row.batch_size for row in rows}) == 1:
        return 0.0, rows[0].compute_ms / rows[0].batch_size
    columns_M2 = np.array([(1.0, row.batch_size) for row in rows])
    return nonnegative(columns_M2, np.array([row.compute_ms for row in rows]))


def predict(rows: Sequence[Row], mode: str, link: Link) -> list[Prediction]:
    """Return the predictions for one model on 1, 2, 4, ... times the nodes of its largest run, up to 1,024 nodes.

    strong: only as long as each rank has at least one example of the global batch.
    """
    base, largest = rows[0], rows[-1]
    model = step_model(rows, mode, link)
    per_node = ranks_per_node(rows)
    start = largest.ranks // per_node
    counts = sorted({min(start * 2**k, max(start, MOST_NODES)) for k in range(12)})
    return [
        _prediction(model, base, nodes * per_node, nodes, mode)
        for nodes in counts
        if mode == "weak" or nodes * per_node <= base.global_batch_size
    ]


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
        base.model, ranks, nodes, batch_size, compute_ms, communication_ms, step_ms, examples_per_s, speed_up,
        speed_up * base.ranks / ranks,
    )  # fmt: skip
