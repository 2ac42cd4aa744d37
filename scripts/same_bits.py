"""Train the cases of scripts/same_bits.sh at one revision, or compare the results of two in a table.

    python same_bits.py data FOLDER              write the generated data sets
    python same_bits.py train TREE [--quick]     train every case in the current folder; also under horovodrun
    python same_bits.py compare FOLDER_A FOLDER_B [--quick]

The package `bnn_hvd` is the one in TREE, a checkout of the revision, which PYTHONPATH names.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

RANKS = (1, 2)


class Case(NamedTuple):
    flags: str
    ranks: tuple[int, ...] = RANKS
    quick: bool = False  # also run with --quick, which has every method once


# Each row has the names that one flag has in different revisions.
NAMES = (("network", "architecture"),)

ALL = "--seed=7 --threads=1 --eval_every_epochs=0 --eval_draws=2 --log_every_steps=2 --checkpoint_every_steps=0"
BATCHES = "--batch_size=32 --steps=6"
FEW = "--batch_size=4 --steps=2"
SMALL = f"{BATCHES} --network=mlp --hidden=16"
IMAGES = "--dataset=npz --data_dir=images.npz"
SWAG = "--swag_rank=3 --swag_start_steps=2 --swag_every_steps=1"
HMC = "--method=hmc --steps=6 --hmc_burn_in_steps=3 --hmc_leapfrog_steps=3"
MODELS = ("BNN_FC_flip", "BNN_FC_nonflip", "BNN_conv_flip", "BNN_conv_nonflip", "CNN_FC", "CNN_conv")

# The cases are trained in this order, each in a run directory of its name, which later cases may refer to.
CASES = {
    **{model: Case(f"{BATCHES} --model={model}") for model in MODELS},
    "CIFAR10_BNN_model": Case(f"{FEW} --model=CIFAR10_BNN_model {IMAGES}"),
    "point": Case(f"{SMALL} --method=point", quick=True),
    "point_lenet5_schedule": Case(
        f"{BATCHES} --method=point --network=lenet5 --optimizer=sgd --lr_schedule=step --lr_warmup_epochs=0.1"
    ),
    "point_fp16": Case(f"{SMALL} --method=point --compression=fp16"),
    "vi_flipout": Case(f"{SMALL} --method=vi --estimator=flipout --kl_warmup_epochs=1", quick=True),
    "vi_reparam": Case(f"{SMALL} --method=vi --estimator=reparam --bayesian_layers=all --bayesian_biases"),
    "vi_local_reparam": Case(f"{SMALL} --method=vi --estimator=local_reparam"),
    "vi_flipout_mixture": Case(f"{SMALL} --method=vi --estimator=flipout --prior=scale_mixture"),
    "vi_reparam_mixture": Case(f"{SMALL} --method=vi --estimator=reparam --prior=scale_mixture"),
    **{
        f"vi_{estimator}_moped": Case(
            f"{SMALL} --method=vi --estimator={estimator} --prior_mean=init_from --init_from=point"
            " --init_relative_scale=0.1"
        )
        for estimator in ("flipout", "reparam", "local_reparam")
    },
    "vi_particles": Case(f"{SMALL} --method=vi --num_particles=2"),
    "ivon": Case(f"{SMALL} --method=ivon --learning_rate=0.1", quick=True),
    "mc_dropout": Case(f"{SMALL} --method=mc_dropout", quick=True),
    "swag": Case(f"{SMALL} --method=swag {SWAG}", quick=True),
    "laplace_full": Case(f"{SMALL} --method=laplace --laplace_structure=full --init_from=point", quick=True),
    "laplace_kron": Case(f"{SMALL} --method=laplace --laplace_structure=kron --init_from=point"),
    "ensemble": Case(f"{SMALL} --method=ensemble --num_particles=2", quick=True),
    "ensemble_uneven": Case(f"{SMALL} --method=ensemble --num_particles=3 --allow_uneven"),
    "multiswag": Case(f"{SMALL} --method=multiswag --num_particles=2 {SWAG}", quick=True),
    "svgd": Case(f"{SMALL} --method=svgd --num_particles=4", quick=True),
    "hmc_linear": Case(f"{HMC} --network=linear --num_chains=2 --hmc_jitter=0.4", quick=True),
    "hmc_mlp_float64": Case(f"{HMC} --network=mlp --hidden=8 --hmc_float64_accept"),
    "hmc_chain_groups": Case(f"{HMC} --network=linear --num_chains=2 --chain_groups=2", ranks=(2,)),
    "hmc_ratings": Case(f"{HMC} --dataset=synthetic_ratings --num_users=60 --num_items=40 --num_factors=3"),
    "augment": Case(f"{FEW} --method=point --network=conv {IMAGES} --augment=crop_flip"),
    "npy": Case(f"{FEW} --method=vi --network=conv --dataset=npy --data_dir=images --augment=crop_flip"),
    "resnet20_frn": Case(f"{FEW} --method=point --network=resnet20 {IMAGES}"),
    "resnet20_batch_norm": Case(f"{FEW} --method=point --network=resnet20 --normalization=batch {IMAGES}"),
    "sine_gaussian": Case(f"{SMALL} --method=vi --estimator=local_reparam --dataset=sine"),
    "sine_heteroscedastic": Case(f"{SMALL} --method=point --dataset=sine --likelihood=heteroscedastic"),
    "sine_gaussian_mixture": Case(
        f"{SMALL} --method=point --dataset=sine --likelihood=gaussian_mixture --components=2"
    ),
    "own_network": Case(f"{BATCHES} --method=vi --architecture=networks.py:own --architecture_args=width=8"),
    "keras_model": Case(f"{BATCHES} --method=ivon --architecture=networks.py:build"),
    "keras_pixels": Case(f"{FEW} --method=ivon --architecture=networks.py:pixels --dataset=npz --data_dir=pixels.npz"),
    # This case is the last, because TensorFlow stays deterministic for the rest of the process.
    "gradient_blocks": Case(f"{SMALL} --method=vi --gradient_blocks=4 --lr_scaling=none --deterministic"),
}
WEIGHTS, PREDICTIONS = "weights", "predictions"
PREDICTED = ("probs_NC", "mean_N", "mean_ND", "held_out_probs_E")  # for classes, real values, columns, ratings
Results = dict[str, dict[str, str]]  # by case: checksums of weights and predictions, or "error: ..."
Cli = Callable[[list[str]], int]  # bnn_hvd.cli.main, a function of argv
Row = tuple[str, str, str, str, str, str]
HEADER: Row = ("case", "ranks", "of", "A", "B", "equal")


def main() -> int:
    flags = _parser().parse_args()
    if flags.verb == "data":
        write_images(flags.folder)
        write_networks(flags.folder / "networks.py")
    elif flags.verb == "train":
        train_all(flags.tree, flags.quick)
    else:
        rows = compare(read(flags.folder_a), read(flags.folder_b), flags.quick)
        print(table(rows))
        return 0 if all(row[-1] == "yes" for row in rows) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("data").add_argument("folder", type=Path)
    train, both = verbs.add_parser("train"), verbs.add_parser("compare")
    train.add_argument("tree", type=Path)
    both.add_argument("folder_a", type=Path)
    both.add_argument("folder_b", type=Path)
    for verb in (train, both):
        verb.add_argument("--quick", action="store_true")
    return parser


# --- training one revision ----------------------------------------------------------------------


def write_images(folder: Path) -> None:
    """Write random images in the form of CIFAR-10, 32x32x3 bytes, ten classes: images.npz and the folder images; and
    pixels.npz, the same with two classes of pixels."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, size in (("train", 64), ("test", 16)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(size) % 10
    np.savez(folder / "images.npz", **arrays)
    pixels = {name.replace("x", "y"): part[..., 0] // 128 for name, part in arrays.items() if name.startswith("x")}
    np.savez(folder / "pixels.npz", **arrays | pixels)
    (folder / "images").mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / "images" / name, array)


def write_networks(path: Path) -> None:
    """Write a network and a Keras model of a user's own."""
    path.write_text(
        "import keras, tensorflow as tf\n"
        "def own(net, x, width=4):\n"
        "    x = net.dense('hidden', tf.reshape(x, [-1, 64]), width)\n"
        "    return net.dense('outputs', tf.nn.relu(x), net.num_outputs)\n"
        "def build(example_shape, num_outputs):\n"
        "    layers = keras.layers\n"
        "    return keras.Sequential([layers.Input(example_shape), layers.Conv2D(4, 3), layers.BatchNormalization(),\n"
        "        layers.Flatten(), layers.Dropout(0.2), layers.Dense(num_outputs)])\n"
        "def pixels(example_shape, num_outputs):\n"
        "    layers = keras.layers\n"
        "    return keras.Sequential([layers.Input(example_shape), layers.Conv2D(4, 3, padding='same'),\n"
        "        layers.ReLU(), layers.Conv2D(num_outputs, 1)])\n"
    )


def train_all(tree: Path, quick: bool) -> None:
    """Train and predict every case in the current folder, and write results.json, in this process.

    TensorFlow takes seconds to import, so one process per rank does it all.
    """
    import bnn_hvd
    from bnn_hvd.cli import main as cli

    assert Path(bnn_hvd.__file__).is_relative_to(tree), f"bnn_hvd is that of {bnn_hvd.__file__}, not of {tree}"
    known = {verb: flags_in(_help_text(cli, verb)) for verb in ("train", "predict")}
    size, rank = of_launcher("SIZE", 1), of_launcher("RANK", 0)
    results: Results = {}
    for name in names(size, quick):
        train = spelled([f"--run={name}", *ALL.split(), *CASES[name].flags.split()], known["train"])
        predict = spelled([f"--run={name}", "--num_draws=4", "--threads=1"], known["predict"])
        results[name] = {
            WEIGHTS: attempt(cli, ["train", *train]) or weights_of(Path(name)),
            PREDICTIONS: attempt(cli, ["predict", *predict]) or predictions_of(Path(name)),
        }
        if rank == 0:
            Path("results.json").write_text(json.dumps(results, indent=2) + "\n")


def of_launcher(what: str, default: int) -> int:
    """Return the size or rank from the environment that Open MPI, MPICH or horovodrun (for Gloo) sets."""
    variables = (f"OMPI_COMM_WORLD_{what}", f"PMI_{what}", f"HOROVOD_{what}")
    return next((int(os.environ[name]) for name in variables if name in os.environ), default)


def names(ranks: int, quick: bool) -> list[str]:
    """Return the names of the cases for a number of ranks."""
    return [name for name, case in CASES.items() if ranks in case.ranks and (case.quick or not quick)]


def flags_in(help_text: str) -> set[str]:
    """Return the names of the flags in the help of a verb."""
    return set(re.findall(r"^ +--(\w+)", help_text, re.MULTILINE))


def _help_text(cli: Cli, verb: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        cli(["bnn_hvd", verb, "--help"])
    return out.getvalue()


def spelled(words: list[str], known: set[str]) -> list[str]:
    """Return `--name=value` words with the names that a revision knows; an unknown name stays, and will be refused."""

    def spell(word: str) -> str:
        name, equals, value = word.removeprefix("--").partition("=")
        alternatives = next((group for group in NAMES if name in group), ())
        return f"--{next((other for other in alternatives if other in known), name)}{equals}{value}"

    return [spell(word) for word in words]


def attempt(cli: Cli, words: list[str]) -> str:
    """Run one command; returns "" if it succeeded, else `error: `, the exit code and the last line of stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = cli(["bnn_hvd", *words])
        except Exception:  # noqa: BLE001 - the other cases go on
            traceback.print_exc()
            code = 1
    print(" ".join(words), err.getvalue(), sep="\n", file=sys.stderr, flush=True)
    return f"error: {code}: {(err.getvalue().strip().splitlines() or [''])[-1]}" if code else ""


def weights_of(run: Path) -> str:
    return json.loads((run / "summary.json").read_text())["weights_sha256"]


def predictions_of(run: Path) -> str:
    with np.load(run / "predictive.npz") as arrays:
        found = [arrays[name] for name in PREDICTED if name in arrays]
    return hashlib.sha256(found[0].tobytes()).hexdigest() if found else "error: no predictions in predictive.npz"


# --- comparing two ------------------------------------------------------------------------------


def read(folder: Path) -> dict[int, Results]:
    """Return the results of a revision by number of ranks, from FOLDER/<ranks>/results.json."""
    return {int(path.parent.name): json.loads(path.read_text()) for path in folder.glob("*/results.json")}


def compare(a: Mapping[int, Results], b: Mapping[int, Results], quick: bool) -> list[Row]:
    """Return a row per number of ranks, case and checksum; `equal` is yes, NO, or error on either side."""
    return [
        (case, str(ranks), what, *_judged(_get(a, ranks, case, what), _get(b, ranks, case, what)))
        for ranks in RANKS
        for case in names(ranks, quick)
        for what in (WEIGHTS, PREDICTIONS)
    ]


def _get(results: Mapping[int, Results], ranks: int, case: str, what: str) -> str:
    return results.get(ranks, {}).get(case, {}).get(what, "error: no result")


def _judged(a: str, b: str) -> tuple[str, str, str]:
    shown = [value if value.startswith("error") else value[:12] for value in (a, b)]
    equal = "error" if "error" in (a[:5], b[:5]) else "yes" if a == b else "NO"
    return shown[0], shown[1], equal


def table(rows: list[Row]) -> str:
    """Return the rows as a markdown table."""
    lines = [HEADER, tuple("---" for _ in HEADER), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
