"""What `scale` says of 8 to 1,024 nodes, and `scale --simulate` of up to 10,000, from runs on one rank."""

import contextlib
import dataclasses
import functools
import io
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.report import OUT, Report, table
from benchmarks.workers import REPOSITORY
from bnn_hvd.config import ScaleConfig, make
from bnn_hvd.plots import simulation as figures
from bnn_hvd.plots import style
from bnn_hvd.studies.scaling import collect, model, predict, predict_particles, simulate

NODES = (8, 32, 128, 512, 1024)
LINK, FASTER = "slingshot11", 50.0
SIMULATED_STEPS = 10**8
RUNS: dict[str, dict[str, Any]] = {
    "weak": {"model": "BNN_conv_flip", "batch_size": 64, "steps": 201, "steps_per_call": 1},
    "strong": {"model": "BNN_conv_flip", "batch_size": 2048, "steps": 6},
    "particles": {
        "architecture": "mlp", "hidden": 512, "num_blocks": 0, "method": "point", "num_particles": 64,
        "batch_size": 64, "steps": 6,
    },
    "chains": {"architecture": "linear", "method": "hmc", "num_chains": 8, "hmc_leapfrog_steps": 10, "steps": 6},
}  # fmt: skip
NOTES = f"""
Each kind is predicted from one run on MNIST, on one rank of one thread of this machine, which stands for a node. The
network is {model.INTERCONNECTS[LINK].source}: 2 µs, 25 GB/s. Efficiency: against the fewest nodes, on which nothing is
sent. {FASTER:.0f} times as fast: the same where a node, as with GPUs, needs a {FASTER:.0f}th of the time to compute.

weak: BNN_conv_flip, batch 64 on each node. strong: the same network, a global batch of 2,048. particles: 64 networks
(mlp, one layer of 512). chains: 8 of hmc, logistic regression, 10 leapfrog steps, all nodes share the data.

Simulation: weak scaling, {SIMULATED_STEPS:.0e} steps of one node's batch; the spread of the step is that of 200 steps
here. A node fails once in five years, a restart takes 120 s, a checkpoint as long as here.
"""


def run(quick: bool) -> Report:
    """Train the runs anew and extrapolate."""
    folder = OUT / "extrapolation"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    link, data = model.named(LINK), workload.mnist_file(folder)
    found = {kind: trained(folder / kind, data, flags) for kind, flags in RUNS.items()}
    lines = [line for kind, one in found.items() for line in lines_of(kind, one, link)]
    header = ("case", "nodes", "computation ms", "communication ms", "step ms", "efficiency", "50 times as fast")
    simulated = simulation(found["weak"], link)
    path = OUT / "simulation.png"
    style.draw(functools.partial(figures.simulation, folder, simulated, "weak"), path)
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    return Report(
        "extrapolation", "More nodes, predicted and simulated", rows, [],
        [table(header, lines), of_simulations(simulated)], f"{NOTES}\nFigure: {path.relative_to(REPOSITORY)}",
    )  # fmt: skip


def trained(folder: Path, data: Path, given: dict[str, Any]) -> collect.Run:
    """Return a finished run, made in this process."""
    from bnn_hvd.config import resolve
    from bnn_hvd.training import train

    config = resolve(
        **given, dataset="mnist", data_dir=str(data), threads=1, run=str(folder), eval_every_epochs=0, eval_draws=1,
        checkpoint_every_steps=1000,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        train.main(config)
    (found,) = collect.read_all([folder])
    return found


def lines_of(kind: str, run: collect.Run, link: model.Link) -> Iterable[Sequence[Any]]:
    """Yield the lines of the table: nodes, times of a step, efficiency, and that of a faster node."""
    fast = dataclasses.replace(
        run, compute_ms=tuple(each / FASTER for each in run.compute_ms),
        step_ms=tuple(each / FASTER for each in run.step_ms), examples_per_s=FASTER * run.examples_per_s,
    )  # fmt: skip
    mine, faster = (by_nodes(kind, each, link) for each in (run, fast))
    for nodes in NODES:
        if nodes in mine:
            one = mine[nodes]
            times = (one.compute_ms, one.communication_ms, one.step_ms)
            yield (f"{kind}, {nodes} nodes", nodes, *times, one.efficiency, faster[nodes].efficiency)


def by_nodes(kind: str, run: collect.Run, link: model.Link) -> dict[int, Any]:
    if kind in ("particles", "chains"):
        return {one.ranks: one for one in predict_particles.predict([run], link)}
    return {one.ranks: one for one in predict.predict(collect.rows([run]), kind, link)}


def simulation(run: collect.Run, link: model.Link) -> list[simulate.Simulation]:
    given = {"run": "unused", "mode": "weak", "simulate": True, "simulated_steps": SIMULATED_STEPS}
    return simulate.simulate(collect.rows([run]), [run], "weak", link, make(ScaleConfig, **given))


def of_simulations(found: Sequence[simulate.Simulation]) -> str:
    header = (
        "simulated", "step ms", "waiting ms", "days between failures", "Young s", "Daly s", "best s", "failures",
        "hours", "node hours", "lost %",
    )  # fmt: skip
    lines = [
        [f"{s.ranks} ranks", s.step_ms, s.waiting_ms, s.mtbf_h / 24, s.young_s, s.daly_s, s.best_s, s.failures, s.hours,
         s.node_hours, 100 * (s.checkpoint_node_hours + s.lost_node_hours) / s.node_hours]
        for s in found if s.ranks in (1, 16, 128, 1024, 4096, 10_000)
    ]  # fmt: skip
    return table(header, lines)
