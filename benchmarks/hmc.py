"""Hamiltonian Monte Carlo on MNIST's logistic regression, beside JAX and TensorFlow Probability, and on two ranks."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import jax_peer, jobs, ours, workload
from benchmarks.report import Bar, Report, Row, find, ratio, table
from benchmarks.workers import Case, Sample, Worker, alternate

OURS, PEERS = ours.NAME, (jax_peer.PLAIN, jax_peer.TFP)
CHAINS, LEAPFROGS = (1, 2), 100  # chains that are computed together; leapfrog steps of a trajectory
STEP_SIZE = 1e-4
LEAST_PEER, LEAST_RANKS = 1.2, 1.8
NOTES = """
A step is one leapfrog step of all chains, in trajectories of 100. It computes value and gradient of the log posterior
of all 60,000 examples of 785 inputs (float32, in memory), with 10 classes and the prior N(0, 1). This project also
evaluates the start of a trajectory: 101 gradients for 100 steps. The peers are `tfp.mcmc.HamiltonianMonteCarlo` of the
JAX substrate, and the same in plain JAX; each has a trajectory in one jit, and all chains in one matrix product.
Versions: {versions}

Each library has its own process, bound to as many cores as threads; every round runs one repetition of each case, one
after the other. With two threads, this project runs its operations side by side, as `train` does with hmc. Two ranks
are started by `horovodrun -np 2`, and each has half of the data.

Memory bound: the time to read the float32 data once, at the bandwidth of one pass of numpy's dot product in this run.
"""


def run(quick: bool) -> Report:
    """Measure with one thread and with two, then one rank against two."""
    spec, rounds, threads = {"networks": ["linear"], "target_s": 2.0}, 9, (1, 2)
    if quick:
        spec, rounds, threads = {"networks": ["linear"], "target_s": 0.2}, 2, (1,)
    peers = {name: python for name in PEERS if (python := jax_peer.environment(name, create=not quick))}
    rows = [row for number in threads for row in measure(spec, number, rounds, peers)]
    rows += over_ranks(rounds=2 if quick else 6)
    header = ("chains", "library", "threads", "ranks", "median ms", "min ms", "cpu ms", "gradients/s", "/ memory bound")
    bound_ms = memory_bound_ms()
    lines = [
        [r.kind, r.library, r.threads, r.ranks, r.step_ms, r.step_ms_min, r.cpu_ms,
         1e3 * int(r.kind.split()[0]) / r.step_ms, r.step_ms / bound_ms]
        for r in rows
    ]  # fmt: skip
    versions = "; ".join(f"{name}: {', '.join(jax_peer.INSTALL[name].packages)}" for name in peers)
    notes = f"{NOTES.format(versions=versions)}\nHere: {bound_ms:.1f} ms on one thread.\n"
    missing = [name for name in PEERS if name not in peers]
    notes += f"\nWithout {', '.join(missing)}: `python -m benchmarks jax-env` installs them.\n" if missing else ""
    return Report("hmc", "Hamiltonian Monte Carlo", rows, bars(rows), [table(header, lines)], notes)


def measure(spec: dict[str, Any], threads: int, rounds: int, peers: dict[str, Path]) -> list[Row]:
    """Return the rows of all libraries on this number of threads; peers: the Python of each."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(OURS, "benchmarks.hmc", spec, threads))]
        workers += [
            stack.enter_context(Worker(name, "benchmarks.jax_peer", spec | {"peer": name}, threads, python))
            for name, python in peers.items()
        ]
        samples = alternate(workers, rounds)
    return [
        row(measured, worker.cases[case][1], worker.library, threads, 1)
        for (worker, case), measured in samples.items()
    ]  # fmt: skip


def over_ranks(rounds: int) -> list[Row]:
    """Return the rows of jobs of one rank and of two, which alternate."""
    samples: dict[tuple[int, str], list[Sample]] = {}
    for _ in range(3):
        for ranks in (1, 2):
            for kind, wall_ms, cpu_ms in jobs.run("benchmarks.hmc", {"rounds": rounds}, ranks):
                samples.setdefault((ranks, kind), []).append(Sample(wall_ms, cpu_ms))
    return [row(measured, kind, f"{OURS}, job", 1, ranks) for (ranks, kind), measured in samples.items()]


def row(samples: list[Sample], kind: str, library: str, threads: int, ranks: int) -> Row:
    return Row.of(
        samples, network="linear", kind=kind, library=library, threads=threads, ranks=ranks, batch_size=None
    )  # fmt: skip


def bars(rows: list[Row]) -> list[Bar]:
    found = []
    for peer, threads, chains in itertools.product(PEERS, (1, 2), CHAINS):
        wanted = {"kind": kind_of(chains), "threads": threads, "ranks": 1}
        above, below = find(rows, library=peer, **wanted), find(rows, library=OURS, **wanted)
        if above and below:
            name = f"gradients/s, {wanted['kind']}, {threads} thread{'s' * (threads > 1)}: ours / {peer}"
            found.append(ratio(name, above, below, at_least=LEAST_PEER))
    for chains in CHAINS:
        alone, both = (find(rows, library=f"{OURS}, job", kind=kind_of(chains), ranks=ranks) for ranks in (1, 2))
        if alone and both:
            found.append(ratio(f"leapfrog steps/s, {kind_of(chains)}: 2 ranks / 1", alone, both, at_least=LEAST_RANKS))
    return found


def kind_of(chains: int) -> str:
    return f"{chains} chain{'s' * (chains > 1)}"


def memory_bound_ms() -> float:
    """Return the milliseconds that one thread takes to read 60,000 x 784 float32 once."""
    import numpy as np

    x, ones = np.ones([60_000, 784], np.float32), np.ones(784, np.float32)
    times = []
    for _ in range(9):
        start = time.perf_counter()
        np.dot(x, ones)
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def cases(spec: dict[str, Any]) -> Iterator[Case]:
    """Yield the trajectories of each number of chains."""
    ours.start_tensorflow(spec["threads"], side_by_side=True)
    from bnn_hvd.distributed.cluster import Solo

    for chains in CHAINS:
        yield chain(chains, Solo())


def chain(chains: int, ranks: Any) -> Case:
    """Return the loop of `train` over this number of chains."""
    from bnn_hvd import seeds
    from bnn_hvd.config import resolve
    from bnn_hvd.data import standardize
    from bnn_hvd.data.pipeline import Shard
    from bnn_hvd.inference.build import build_method
    from bnn_hvd.models.build import build_network
    from bnn_hvd.run.checkpoint import Progress
    from bnn_hvd.targets import Classes
    from bnn_hvd.training.loop import compile_loop
    from bnn_hvd.training.plan import Plan

    x, y = workload.training_part("linear")
    config = resolve(
        architecture="linear", method="hmc", num_chains=chains, hmc_leapfrog_steps=LEAPFROGS, hmc_step_size=STEP_SIZE,
        hmc_burn_in_steps=0, hmc_kept_draws=1, steps=10**6,
    )  # fmt: skip
    plan = Plan(config, len(x), ranks.rank, ranks.size)
    target = Classes(10)
    method = build_method(config, build_network(config, x.shape[1:], target), target, len(x), ranks)
    state = method.init(seeds.seed(0, "init"))
    shard = Shard(x, y, standardize.fit(x, "channel"), plan.shard)
    loop = compile_loop(method.step, state, shard, plan.batch_shape, ranks)

    def run(steps: int) -> None:
        for trajectory in range(max(1, steps // LEAPFROGS)):
            loop(plan.next_call(Progress(step=trajectory), 1))

    return Case("linear", kind_of(chains), run, steps=LEAPFROGS)


def main(spec: dict[str, Any]) -> tuple[int, list[tuple[str, float, float]]]:
    """Time this rank's shard; returns the rank, and rows (chains, wall ms, cpu ms)."""
    ours.start_tensorflow(1)
    from bnn_hvd.distributed import cluster

    ranks = cluster.connect()
    each = {kind_of(chains): chain(chains, ranks) for chains in CHAINS}
    rows = jobs.time_together(each, LEAPFROGS, ranks, spec["rounds"])
    ranks.barrier()
    return ranks.rank, rows


if __name__ == "__main__":
    given, out = jobs.given()
    rank, result = main(given)
    jobs.finish(out, result, rank)
