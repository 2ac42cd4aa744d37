"""The time of a training step of each network and estimator, beside that of another revision of this project."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import layers, ours
from benchmarks.report import Bar, Report, Row, find, ratio, table
from benchmarks.workers import REPOSITORY, Worker, alternate

HERE, THERE = "work tree", "revision"
AT_MOST = 1.03  # a change that should not change the speed
NOTES = """
A step is that of `layers`, one thread, pinned to one core. Each revision has its own process; every round runs one
repetition of each case, one after the other.
"""


def run(quick: bool, revision: str) -> Report:
    """Measure the work tree and another revision, alternating, on one thread."""
    spec = {"networks": ["fc"], "target_s": 0.02} if quick else {"networks": list(layers.NAMES), "target_s": 0.1}
    with checkout(revision) as tree, contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(name, ours.__name__, spec, threads=1, tree=root))
            for name, root in ((HERE, REPOSITORY), (THERE, tree))
        ]
        rows = layers.rows_of(alternate(workers, 3 if quick else layers.ROUNDS))
    header = ("network", "kind", "code", "median ms", "min ms", "cpu ms")
    lines = ((layers.NAMES[r.network], r.kind, r.library, r.step_ms, r.step_ms_min, r.cpu_ms) for r in rows)
    return Report("against", f"Training step, against {revision}", rows, bars(rows), [table(header, lines)], NOTES)


def bars(rows: list[Row]) -> list[Bar]:
    """Return the ratio of the work tree's time to the revision's, of each case."""
    pairs = ((row, find(rows, network=row.network, kind=row.kind, library=THERE)) for row in rows)
    return [
        ratio(f"{layers.NAMES[here.network]}, {here.kind}", here, there, at_most=AT_MOST)
        for here, there in pairs if here.library == HERE and there
    ]  # fmt: skip


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Yield a folder with the files of a revision."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, revision], cwd=REPOSITORY, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=REPOSITORY, check=True)
