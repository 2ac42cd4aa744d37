"""Seconds per GiB of a state that goes between two ranks on one host, as for checkpoints, evaluations and restarts."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import jobs
from benchmarks.report import Report, Row, table
from benchmarks.workers import Case, Sample, time_steps

GIB = 2**30
KINDS = {
    "gather_on_root": "a checkpoint: rank 0 receives the part of each rank",
    "gather": "an evaluation: every rank receives the parts of all",
    "scatter": "a restart: each rank receives its part",
    "broadcast": "a restart without particles: every rank receives all",
    "save": "rank 0 writes a checkpoint, with its checksum",
}
NOTES = """
The state is float32, and half of it belongs to each rank. A step is one call of `Cluster.gather_on_root`, `gather`,
`scatter` or `broadcast`, or of `checkpoint.save`; seconds per GiB of the whole state. Two ranks of one thread on this
host. Messages have at most `distributed/objects.py`: MOST_BYTES.
"""


def run(quick: bool, gibibytes: tuple[float, ...] = (1 / 16, 1.0)) -> Report:
    """Measure states of these sizes."""
    spec = {"gibibytes": gibibytes[:1] if quick else gibibytes, "rounds": 3 if quick else 5}
    rows, lines = [], []
    for measured, size in zip(jobs.run("benchmarks.state", spec, 2), spec["gibibytes"], strict=True):
        mine = [row(kind, size, samples) for kind, samples in measured.items()]
        lines.append([size, *(one.step_ms / 1e3 / size for one in mine)])
        rows += mine
    header = ("GiB", *KINDS)
    explained = "\n".join(f"- `{kind}`: {what}" for kind, what in KINDS.items())
    return Report(
        "state", "A state between two ranks: s/GiB (medians)", rows, [], [table(header, lines), explained], NOTES
    )


def row(kind: str, gibibytes: float, samples: list[list[float]]) -> Row:
    return Row.of(
        [Sample(*sample) for sample in samples], network="", kind=kind, library="horovod MPI", threads=1, ranks=2,
        batch_size=None, more={"state_gib": gibibytes},
    )  # fmt: skip


def main(spec: dict[str, Any]) -> tuple[int, list[dict[str, list[Sample]]]]:
    """Time each kind with each size on this rank; returns the rank, and the samples of each size by kind."""
    from bnn_hvd.distributed import cluster, machine
    from bnn_hvd.run import checkpoint
    from bnn_hvd.run.checkpoint import Progress

    ranks = cluster.connect()
    machine.set_up(1, ranks)

    def samples(gibibytes: float, folder: Path) -> dict[str, list[Sample]]:
        half = np.ones(int(gibibytes * GIB / 8), np.float32)

        def save() -> None:
            if ranks.is_root:
                checkpoint.save(folder, {"first": half, "second": half}, Progress(), 1)

        actions = {
            "gather_on_root": lambda: ranks.gather_on_root(half),
            "gather": lambda: ranks.gather(half),
            "scatter": lambda: ranks.scatter([half, half] if ranks.is_root else None),
            "broadcast": lambda: ranks.broadcast([half, half] if ranks.is_root else None),
            "save": save,
        }
        cases = {kind: Case("", "", lambda _, action=action: action()) for kind, action in actions.items()}
        found: dict[str, list[Sample]] = {kind: [] for kind in actions}
        for _ in range(spec["rounds"]):
            for kind, case in cases.items():
                ranks.barrier()
                found[kind].append(time_steps(case, 1))
        return found

    with tempfile.TemporaryDirectory() as folder:
        found = [samples(size, Path(folder)) for size in spec["gibibytes"]]
        ranks.barrier()
    return ranks.rank, found


if __name__ == "__main__":
    given, out = jobs.given()
    rank, result = main(given)
    jobs.finish(out, result, rank)
