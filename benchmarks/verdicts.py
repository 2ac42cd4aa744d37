"""How often the verdict on convergence is wrong: runs that can't have converged, and runs that have, over seeds."""

import contextlib
import io
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import OUT, Report, table

SEEDS = range(20)
NETWORK = {"architecture": "mlp", "hidden": 16, "num_blocks": 0, "dataset": "digits", "eval_every_epochs": 0}
VI = NETWORK | {"method": "vi", "bayesian_layers": "all", "bayesian_biases": True}
CHAINS, DRAWS = 4, 1000


class Case(NamedTuple):
    """Runs whose verdict is known; `train` has the flags of each."""

    name: str
    converged: bool
    train: dict[str, Any]


CASES = (
    Case("vi, 20 epochs", False, VI | {"epochs": 20}),
    Case("vi, a constant learning rate of 0.03, 100 epochs", False,
         VI | {"epochs": 100, "learning_rate": 0.03, "lr_schedule": "constant"}),
    Case("vi, 400 epochs", True, VI | {"epochs": 400}),
    Case("ivon, 20 epochs", False, NETWORK | {"method": "ivon", "epochs": 20}),
    Case("ivon, a learning rate of 0.03, 400 epochs", True,
         NETWORK | {"method": "ivon", "epochs": 400, "learning_rate": 0.03}),
    Case("point, 5 epochs", False, NETWORK | {"method": "point", "epochs": 5}),
    Case("point, 200 epochs along a cosine", True,
         NETWORK | {"method": "point", "epochs": 200, "lr_schedule": "cosine"}),
)  # fmt: skip


def run(quick: bool) -> Report:
    """Train the cases anew, of which every seed is one run, and count the wrong verdicts."""
    folder = OUT / "verdicts"
    shutil.rmtree(folder, ignore_errors=True)
    seeds = SEEDS[:1] if quick else SEEDS
    rows = [row(case.name, case.converged, trained(case, seeds, folder)) for case in CASES]
    rows += [row(name, good, chains(good, seeds)) for name, good in CHAIN_CASES.items()]
    header = list(rows[0])
    return Report(
        "verdicts", "Wrong verdicts on convergence", rows, [], [table(header, [list(one.values()) for one in rows])],
        f"`mlp` with one hidden layer of 16 on the digits, one rank; chains: {CHAINS} of {DRAWS} draws of an "
        "autoregression of correlation 0.8, not trained.",
    )  # fmt: skip


CHAIN_CASES = {"hmc, one chain stuck": False, "hmc, all chains alike": True}


def row(name: str, good: bool, verdicts: Iterable[bool]) -> dict[str, Any]:
    found = list(verdicts)
    return {
        "case": name, "has converged": "yes" if good else "no", "runs": len(found),
        "wrong verdicts": sum(one != good for one in found),
    }  # fmt: skip


def trained(case: Case, seeds: Iterable[int], folder: Path) -> list[bool]:
    """Return the verdicts on a run of each seed, all in this process."""
    from bnn_hvd.config import resolve
    from bnn_hvd.run import rundir
    from bnn_hvd.training import train

    found = []
    for seed in seeds:
        run = folder / f"{case.name} {seed}".replace(" ", "_").replace(",", "")
        with contextlib.redirect_stdout(io.StringIO()):
            train.main(resolve(**case.train, seed=seed, threads=1, run=str(run)))
        found.append(rundir.read_summary(run)["convergence"]["converged"])
    return found


def chains(good: bool, seeds: Iterable[int]) -> list[bool]:
    """Return the verdicts on chains of each seed: all from one autoregression, or one of them at rest elsewhere."""
    from bnn_hvd.metrics import convergence
    from bnn_hvd.training import chain_report

    found = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        x_MN = np.zeros([CHAINS, DRAWS + 100])
        for n in range(1, DRAWS + 100):
            x_MN[:, n] = 0.8 * x_MN[:, n - 1] + random.normal(size=CHAINS)
        if not good:
            x_MN[0] = 2.0 * x_MN[0].std() + 1e-3 * x_MN[0]
        quality = chain_report.quality(x_MN[:, 100:])
        found.append(bool(convergence.of_chains({"log_posterior": quality}).converged))
    return found
