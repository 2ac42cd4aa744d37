"""The scores of the runs that the documentation quotes. They do not depend on how busy the machine is."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import workload
from benchmarks.report import OUT, Report, table
from benchmarks.workers import REPOSITORY, environment

MNIST = ("--dataset=mnist", f"--data_dir={workload.folder() / workload.FILES['mnist']}")
CIFAR = ("--dataset=cifar10", f"--data_dir={workload.folder() / workload.FILES['cifar']}")
MODELS = (
    "BNN_FC_flip", "BNN_FC_nonflip", "BNN_conv_flip", "BNN_conv_nonflip", "CNN_FC", "CNN_conv", "CIFAR10_BNN_model"
)  # fmt: skip
METHODS = ("point", "vi", "ivon", "mc_dropout", "swag", "laplace", "ensemble", "multiswag", "svgd")
PRUNED = (
    *MNIST,
    "--architecture=conv",
    "--method=vi",
    "--epochs=5",
)  # BNN_conv_flip, if its output layer has no scales
QUALITY = ("accuracy", "nll", "ece")


class Run(NamedTuple):
    """A run: `train` with these flags, then `predict`, or `prune`, with those.

    {runs} in a flag is the folder of the runs of the part, {ood} the out-of-distribution images of MNIST.
    """

    name: str
    train: tuple[str, ...]
    then: tuple[str, ...] = ("predict", "--num_draws=30")
    ranks: int = 1


class Part(NamedTuple):
    """Runs, and what is shown of each: names of uncertainty.json and summary.json, or `file key key`."""

    title: str
    runs: tuple[Run, ...]
    shown: tuple[str, ...]
    notes: str = ""


def by_flagfile(method: str, *flags: str, suffix: str = "") -> Run:
    """Return the run of configs/mnist_METHOD.cfg with some other flags."""
    flags = (f"--flagfile={REPOSITORY}/configs/mnist_{method}.cfg", *MNIST, *flags)
    flags += ("--init_from={runs}/point",) if method == "laplace" else ()
    return Run(method + suffix, flags, ("predict", "--num_draws=30", "--ood_data_dir={ood}"))


PARTS = {
    "scores_models": Part(
        "Scores of the named models",
        tuple(
            Run(model, (f"--model={model}", "--epochs=5", *(CIFAR if "CIFAR" in model else MNIST)), ranks=2)
            for model in MODELS
        ),
        ("num_weights", *QUALITY),
        "Five epochs on two ranks of one thread, 30 posterior draws, all other flags by default.",
    ),
    "scores_methods": Part(
        "Scores of the methods",
        (
            *(by_flagfile(method) for method in METHODS),
            by_flagfile("vi", "--kl_weight=1", suffix=", --kl_weight=1"),
        ),
        (*QUALITY, "ood auroc_entropy"),
        "By `configs/mnist_METHOD.cfg`, one rank of one thread, 30 draws. Out of distribution: the test images of\n"
        "`cifar10_small.npz`, their three channels averaged, the middle 28 x 28 pixels.",
    ),
    "scores_ensemble_of_ten": Part(
        "Scores of an ensemble of ten",
        (by_flagfile("ensemble_of_ten")._replace(ranks=2),),
        QUALITY,
        "By `configs/mnist_ensemble_of_ten.cfg`, two ranks of one thread.",
    ),
    "scores_hmc_mnist": Part(
        "Hamiltonian Monte Carlo on MNIST",
        (Run("mnist_hmc_small", (f"--flagfile={REPOSITORY}/configs/mnist_hmc_small.cfg", *MNIST),
             ("predict", "--num_draws=220"), ranks=2),),
        ("accuracy", "single_draw_accuracy", "nll", "ece", "diagnostics log_posterior r_hat",
         "diagnostics log_posterior ess_bulk", "diagnostics divergences"),
        "Two ranks of one thread.",
    ),
    "scores_ratings": Part(
        "Scores of the synthetic ratings",
        (Run("synthetic_ratings_hmc", (f"--flagfile={REPOSITORY}/configs/synthetic_ratings_hmc.cfg",),
             ("predict", "--num_draws=70")),),
        ("nll", "truth_nll", "nll_over_truth", "single_draw_nll", "single_draw_over_truth",
         "diagnostics log_posterior r_hat", "diagnostics predictions r_hat_median",
         "diagnostics predictions r_hat_max"),
        "One rank of one thread.",
    ),
    "scores_pruning": Part(
        "Scores of pruned networks",
        (
            Run("deterministic output", PRUNED, ("prune", "--num_draws=20", "--fractions=0.5,0.75"), ranks=2),
            Run("all layers", (*PRUNED, "--bayesian_layers=all"),
                ("prune", "--num_draws=20", "--fractions=0.9,0.95", "--scope=global"), ranks=2),
        ),
        QUALITY,
        "conv by vi (flipout) on MNIST, five epochs on two ranks of one thread, 20 draws.",
    ),
}  # fmt: skip


def run(part: str, quick: bool) -> Report:
    """Train the runs of a part anew, or only the first if `quick`, and return their scores."""
    folder = OUT / part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    title, runs, shown, notes = PARTS[part]
    rows = [row for one in runs[: 1 if quick else None] for row in scores(one, folder, shown)]
    header = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[_shown(row.get(name)) for name in header] for row in rows]
    names = [name.removeprefix("diagnostics ").replace("_", " ") for name in header]
    return Report(part, title, rows, [], [table(names, lines)], notes)


def scores(one: Run, folder: Path, shown: Iterable[str]) -> list[dict[str, Any]]:
    """Train a run; returns its row, or the rows of `prune`."""
    path = folder / one.name
    filled = {"{runs}": str(folder), "{ood}": str(ood_images(folder))}
    command(("train", *one.train, "--threads=1", f"--run={path}"), one.ranks, filled)
    command((*one.then, "--threads=1", f"--run={path}"), 1, filled)
    if one.then[0] == "prune":
        kept = ("criterion", "fraction", *shown)
        return [{"run": one.name} | {name: row[name] for name in kept} for row in read(path, "pruning")]
    found = read(path, "summary") | read(path, "uncertainty") | {"diagnostics": read(path, "diagnostics")}
    if "truth_nll" in found:
        found["single_draw_over_truth"] = found["single_draw_nll"] / found["truth_nll"]
    return [{"run": one.name} | {name: at(found, name.split()) for name in shown}]


def command(words: Iterable[str], ranks: int, filled: dict[str, str]) -> None:
    """Run a verb to its end, through horovodrun on several ranks.

    Raises:
      RuntimeError: it failed; with its last lines.
    """
    launcher = [sys.executable, str(Path(sys.executable).with_name("horovodrun")), "-np", str(ranks), "--"]
    words = list(words)
    for name, value in filled.items():
        words = [word.replace(name, value) for word in words]
    job = subprocess.run(
        [*(launcher if ranks > 1 else []), sys.executable, "-m", "bnn_hvd", *words], cwd=REPOSITORY,
        env=environment(1) | {"OMPI_MCA_mpi_yield_when_idle": "1"}, text=True, check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if job.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with code {job.returncode}:\n{job.stdout[-3000:]}")


def read(run: Path, name: str) -> Any:
    path = run / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def ood_images(folder: Path) -> Path:
    """Return a file of grey images of MNIST's shape: the test part of CIFAR-10, averaged over channels and cropped."""
    path, source = folder / "ood.npz", workload.folder() / workload.FILES["cifar"]
    if not path.exists() and source.exists():
        with np.load(source) as arrays:
            x = arrays["x_test"].mean(-1).round().astype(np.uint8)[:, 2:30, 2:30]
            y = arrays["y_test"]
        np.savez(path, x_train=x[:10], y_train=y[:10], x_test=x, y_test=y)
    return path


def at(found: dict[str, Any], keys: Iterable[str]) -> Any:
    """Return the value at a place in nested dicts; None if there is none."""
    value: Any = found
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _shown(value: Any) -> Any:
    """Return a score with four places after the point: a difference of one image of 10,000 is seen."""
    return f"{value:.4f}" if isinstance(value, float) else value
