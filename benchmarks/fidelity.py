"""How far are the methods from Hamiltonian Monte Carlo? The table of docs/hmc.md: two networks, two data sets, three
seeds. Each method is compared with one long run of `hmc`, and so is a second run of `hmc`: nothing can be closer.

Runs that are in out/fidelity are kept: what was stopped goes on, and to make a run anew, delete its folder.
"""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets

from benchmarks.report import OUT, Report, table
from benchmarks.scores import at, command, read

SEEDS = (0, 1, 2)
EPOCHS = ("--epochs=100", "--batch_size=32")
COSINE = (*EPOCHS, "--lr_schedule=cosine")
ALL = ("--bayesian_layers=all", "--bayesian_biases")
METHODS = {
    "point": ("--method=point", *COSINE),
    "vi, flipout": ("--method=vi", "--estimator=flipout", *ALL, *EPOCHS),
    "vi, reparam": ("--method=vi", "--estimator=reparam", *ALL, *EPOCHS),
    "vi, local_reparam": ("--method=vi", "--estimator=local_reparam", *ALL, *EPOCHS),
    "ivon": ("--method=ivon", *EPOCHS),
    "mc_dropout": ("--method=mc_dropout", *COSINE),
    "swag": ("--method=swag", *COSINE),
    "laplace": ("--method=laplace", "--init_from={point}"),
    "ensemble of 8": ("--method=ensemble", "--num_particles=8", *COSINE),
    "multiswag of 4": ("--method=multiswag", "--num_particles=4", *COSINE),
    "svgd of 8": ("--method=svgd", "--num_particles=8", *COSINE),
}


class Problem(NamedTuple):
    """flags: of data and network. hmc: of the reference. scores: by name, the places in the files."""

    flags: tuple[str, ...]
    hmc: tuple[str, ...]
    draws: int  # all of the reference
    scores: dict[str, str]


DISTANCES = {
    "epistemic ratio": "reference epistemic_ratio", "rank correlation": "reference epistemic_rank_correlation",
    "pareto k": "posterior_check pareto_k",
}  # fmt: skip
PROBLEMS = {
    "digits, fc": Problem(
        ("--dataset=digits", "--architecture=fc"),
        ("--hmc_leapfrog_steps=100", "--hmc_step_size=0.008", "--hmc_burn_in_steps=100", "--steps=900"),
        1600,
        {"accuracy": "accuracy", "nll": "nll", "ece": "ece", "epistemic": "epistemic_uncertainty",
         "total variation": "reference total_variation", **DISTANCES},
    ),
    "diabetes, mlp": Problem(
        ("--dataset=table", "--data_dir={diabetes}", "--target=target", "--likelihood=gaussian", "--architecture=mlp",
         "--hidden=50", "--num_blocks=0"),
        ("--hmc_leapfrog_steps=300", "--hmc_step_size=0.004", "--hmc_burn_in_steps=200", "--steps=1200"),
        2000,
        {"rmse": "rmse", "nll": "nll", "coverage of 90 %": "coverage_90", "epistemic sd": "epistemic_std",
         "rms difference of means": "reference rms_difference_of_means", **DISTANCES},
    ),
}  # fmt: skip
OF_CHAINS = {
    "R-hat of predictions, median": "predictions r_hat_median", "largest": "predictions r_hat_max",
    "R-hat of log posterior": "log_posterior r_hat", "bulk ESS": "log_posterior ess_bulk",
    "R-hat of weights, largest": "weights r_hat_max",
}  # fmt: skip


def run(quick: bool) -> Report:
    folder = OUT / "fidelity"
    folder.mkdir(parents=True, exist_ok=True)
    rows, chains, tables = [], [], []
    for name in [*PROBLEMS][: 1 if quick else None]:
        compared = [*of_problem(name, folder, quick)]
        rows += compared
        header = ["run", *PROBLEMS[name].scores]
        tables.append(table(header, [[shown(row.get(each)) for each in header] for row in compared]))
        chains += rows_of_chains(name, folder)
    header = ["run", *OF_CHAINS]
    tables.append(table(header, [[shown(row[each]) for each in header] for row in chains]))
    notes = (
        f"Mean and standard deviation over the seeds {', '.join(map(str, SEEDS))}, each a run of its own; distances\n"
        "are those from `hmc` with seed 0. One rank of one thread. The diabetes data are scikit-learn's."
    )
    return Report("fidelity", "Distance from Hamiltonian Monte Carlo", rows + chains, [], tables, notes)


def of_problem(name: str, folder: Path, quick: bool) -> Iterator[dict[str, Any]]:
    """Train and compare all methods on a problem; yields a row for each, whose values are those of all seeds."""
    problem, here = PROBLEMS[name], folder / dataset(name)
    here.mkdir(exist_ok=True)
    reference = here / "hmc"
    for seed, path in ((0, reference), (1, here / "hmc_1")):
        known = ("--method=hmc", "--num_chains=2", f"--hmc_kept_draws={problem.draws // 2}", *problem.hmc)
        compare(path, (*problem.flags, *known), seed, problem.draws, reference if seed else None, folder)
    yield {"run": f"{dataset(name)}: hmc"} | values(problem, [reference])
    yield {"run": f"{dataset(name)}: hmc, seed 1"} | values(problem, [here / "hmc_1"])
    for method, flags in [*METHODS.items()][: 1 if quick else None]:
        runs = [here / f"{method.split(' of')[0].replace(', ', '_')}_{seed}" for seed in SEEDS]
        for seed, path in zip(SEEDS, runs, strict=True):
            known = tuple(flag.replace("{point}", str(here / f"point_{seed}")) for flag in flags)
            compare(path, (*problem.flags, *known), seed, 300, reference, folder)
        yield {"run": f"{dataset(name)}: {method}"} | values(problem, runs)


def compare(path: Path, flags: Sequence[str], seed: int, draws: int, reference: Path | None, folder: Path) -> None:
    if (path / "uncertainty.json").exists():
        return
    filled = {"{diabetes}": str(diabetes(folder))}
    command(("train", *flags, f"--seed={seed}", "--threads=1", f"--run={path}"), 1, filled)
    with_it = (f"--reference={reference}",) if reference else ()
    command(("predict", f"--run={path}", f"--num_draws={draws}", "--threads=1", *with_it), 1, filled)


def values(problem: Problem, runs: Sequence[Path]) -> dict[str, list[float | None]]:
    found = [read(run, "uncertainty") for run in runs]
    return {name: [at(one, place.split()) for one in found] for name, place in problem.scores.items()}


def rows_of_chains(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    for seed, run in enumerate(("hmc", "hmc_1")):
        found = read(folder / dataset(name) / run, "diagnostics")
        row = {title: [at(found, place.split())] for title, place in OF_CHAINS.items()}
        yield {"run": f"{dataset(name)}: chains of seed {seed}"} | row


def shown(each: Any) -> str:
    """Return a name as it is; of the values of all seeds the mean and, in brackets, the standard deviation."""
    if isinstance(each, str):
        return each
    known = [value for value in each or () if value is not None]
    if not known:
        return ""
    spread = f" ({statistics.stdev(known):.3g})" if len(known) > 1 else ""
    return f"{statistics.mean(known):.4g}{spread}"


def dataset(problem: str) -> str:
    return problem.partition(",")[0]


def diabetes(folder: Path) -> Path:
    """Return a table of scikit-learn's diabetes data (Efron et al. 2004): 442 patients, 10 columns, the target."""
    path = folder / "diabetes.npz"
    if not path.exists():
        found = datasets.load_diabetes(scaled=False)
        np.savez(path, **dict(zip(found.feature_names, found.data.T, strict=True)), target=found.target)
    return path
