"""What `scale` says of 8 to 1,024 nodes, and `scale --simulate` of up to 10,000."""

import contextlib
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

NODES = (1, 8, 32, 128, 512, 1024)
LINKS = ("slingshot11", "10gbe")
SIMULATED_STEPS = 10**8
MNIST = 60_000
# Of one node: milliseconds of a step, and bytes to reduce in it.
CASES: dict[str, dict[str, Any]] = {
    "weak": {"compute_ms": 10.0, "batch_size": 64, "reduced_bytes_per_step": 514_856},
    "weak, resnet18 by vi": {"compute_ms": 200.0, "batch_size": 64, "reduced_bytes_per_step": 89_417_256},
    "strong": {"compute_ms": 640.0, "batch_size": 4096, "reduced_bytes_per_step": 514_856},
    "particles": {"compute_ms": 320.0, "batch_size": 64, "num_particles": 64, "reduced_bytes_per_step": 1_628_200},
    "chains": {
        "compute_ms": 4400.0, "batch_size": MNIST, "num_particles": 8, "rank_groups": 1, "allreduces_per_step": 11,
        "reduced_bytes_per_step": 11 * 8 * 31_400,
    },
}  # fmt: skip
NOTES = f"""
First table: predictions. What a node computes is chosen, not measured:
weak: BNN_conv_flip, 64 images on each node, 10 ms (0.5 MB to reduce). resnet18 by vi: 64 on each, 200 ms (89 MB).
strong: BNN_conv_flip, a global batch of 4,096, 640 ms on one node.
particles: 64 networks of one layer of 512, 5 ms each (1.6 MB); from 128 nodes on, several nodes share each.
chains: 8 of hmc, logistic regression of MNIST, 11 gradients of 400 ms on one node; the nodes share the images.
The networks are {model.INTERCONNECTS[LINKS[0]].source}, and {model.INTERCONNECTS[LINKS[1]].source}; latencies
2 and 20 µs. Efficiency (%): against one node.

Second table: a simulation of weak scaling, {SIMULATED_STEPS:,} steps of one node's batch. The step and its spread are
those of 200 steps of BNN_conv_flip here, on one thread. A node fails once in five years, a restart takes 120 s.
"""


def run(quick: bool) -> Report:
    """Predict, and simulate from a run that is made anew."""
    folder = OUT / "extrapolation"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    header = ("case", "nodes", "computation ms", *(f"{name} {what}" for name in LINKS for what in ("step ms", "%")))
    lines = [line for kind in CASES for line in lines_of(kind)]
    simulated = simulation(trained(folder / "weak", workload.mnist_file(folder)))
    path = OUT / "simulation.png"
    style.draw(functools.partial(figures.simulation, folder, simulated, "weak"), path)
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    return Report(
        "extrapolation", "More nodes, predicted and simulated", rows, [],
        [table(header, lines), of_simulations(simulated)], f"{NOTES}\nFigure: {path.relative_to(REPOSITORY)}",
    )  # fmt: skip


def lines_of(kind: str) -> Iterable[Sequence[Any]]:
    """Yield the lines of the table: nodes, computation, and by network the time of a step and the efficiency in %."""
    found = [by_nodes(kind, alone(CASES[kind]), model.named(name)) for name in LINKS]
    for nodes in NODES:
        mine = [each[nodes] for each in found]
        more = [value for one in mine for value in (one.step_ms, 100 * one.efficiency)]
        yield (f"{kind}, {nodes} node{'s' * (nodes > 1)}", nodes, mine[0].compute_ms, *more)


def alone(case: dict[str, Any]) -> collect.Run:
    """Return a run on one node that takes what a case says."""
    step_ms, batch_size = case["compute_ms"], case["batch_size"]
    defaults = {"num_particles": 0, "rank_groups": 0, "allreduces_per_step": 1}
    return collect.Run(
        path=Path(), model="", data="", length="", ranks=1, nodes=1, threads=1, global_batch_size=batch_size,
        num_train=1024 * MNIST, steps=1, num_weights=0, num_parameters=0, allreduce_bytes_per_step=0, train_wall_s=1.0,
        examples_per_s=1e3 * batch_size / step_ms, communication_ms=0.0, step_ms=(step_ms,), eval_s=None,
        **defaults | case | {"compute_ms": (step_ms,)},
    )  # fmt: skip


def by_nodes(kind: str, run: collect.Run, link: model.Link) -> dict[int, Any]:
    """Return the predictions by the number of nodes."""
    if run.num_particles:
        return {one.ranks: one for one in predict_particles.predict([run], link)}
    return {one.ranks: one for one in predict.predict(collect.rows([run]), kind.split(",")[0], link)}


def trained(folder: Path, data: Path) -> collect.Run:
    """Return a finished run, made in this process."""
    from bnn_hvd.config import resolve
    from bnn_hvd.training import train

    config = resolve(
        model="BNN_conv_flip", batch_size=64, steps=201, steps_per_call=1, dataset="mnist", data_dir=str(data),
        threads=1, run=str(folder), eval_every_epochs=0, eval_draws=1,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        train.main(config)
    (found,) = collect.read_all([folder])
    return found


def simulation(run: collect.Run) -> list[simulate.Simulation]:
    given = {"run": "unused", "mode": "weak", "simulate": True, "simulated_steps": SIMULATED_STEPS}
    return simulate.simulate(collect.rows([run]), [run], "weak", model.named(LINKS[0]), make(ScaleConfig, **given))


def of_simulations(found: Sequence[simulate.Simulation]) -> str:
    header = (
        "simulated", "step ms", "waiting ms", "days between failures", "Young s", "Daly s", "best s", "failures",
        "hours", "node hours", "lost %",
    )  # fmt: skip
    lines = [
        [f"{s.ranks} rank{'s' * (s.ranks > 1)}", s.step_ms, s.waiting_ms, s.mtbf_h / 24, s.young_s, s.daly_s, s.best_s,
         s.failures, s.hours, s.node_hours, 100 * (s.checkpoint_node_hours + s.lost_node_hours) / s.node_hours]
        for s in found if s.ranks in (1, 16, 128, 1024, 4096, 10_000)
    ]  # fmt: skip
    return table(header, lines)
