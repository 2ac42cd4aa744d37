"""Every method on two ranks: a run resumed from the middle, and its predictions, are those of the whole run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import running

from bnn_hvd import registry
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.inference.vi import ESTIMATORS
from bnn_hvd.metrics import conformal
from bnn_hvd.run import checkpoint, records

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]
TRAIN = (
    "train", "--architecture=mlp", "--hidden=8", "--num_blocks=0", "--threads=1", "--eval_every_epochs=0",
    "--eval_draws=2",
)  # fmt: skip
OWN = {
    "swag": ("--swag_rank=4", "--swag_start_steps=3", "--swag_every_steps=2"),
    "multiswag": ("--swag_rank=4", "--swag_start_steps=3", "--swag_every_steps=2"),
    "laplace": ("--init_from=point",),
    "hmc": ("--hmc_leapfrog_steps=2", "--hmc_burn_in_steps=5", "--hmc_kept_draws=8"),
}
CASES = {f"{method}": (f"--method={method}", *OWN.get(method, ())) for method in registry.METHODS if method != "vi"}
CASES |= {f"vi_{estimator}": ("--method=vi", f"--estimator={estimator}") for estimator in ESTIMATORS}
CASES |= {
    "vi_mixture": ("--method=vi", "--prior=scale_mixture"),
    "vi_moped": ("--method=vi", "--init_from=point", "--prior_mean=init_from", "--init_relative_scale=0.1"),
}
MIDDLE, STEPS = 7, 18
COVERAGE = 0.8
PREDICT = ("--num_draws=6", "--threads=1", "--mode=mean,std", f"--coverage={COVERAGE}")


def train(name: str, flags: tuple[str, ...], run: Path) -> list[str]:
    size = [] if name in CHOICES["method"].names_with("full_batch") else ["--batch_size=16"]
    particles = ["--num_particles=4"] if name in CHOICES["method"].names_with("needs_particles") else []
    kept = [f"--steps={STEPS}", f"--checkpoint_every_steps={MIDDLE}", "--keep=9"]
    return [*TRAIN, *size, *particles, *flags, *kept, f"--run={run}"]


def predict(name: str, run: Path) -> list[str]:
    """Return the command; corrupted images are shared among ranks as others are, and one method is enough for that."""
    corrupted = ["--corrupt=noise:1,rotation:2"] if name == "swag" else []
    return ["predict", f"--run={run}", *PREDICT, *corrupted]


def as_in_the_middle(whole: Path, run: Path) -> None:
    """Copy the run `whole` to `run`, as if its job had been killed after MIDDLE steps."""
    shutil.copytree(whole, run)
    (run / records.SUMMARY).unlink()
    for path in checkpoint.list_newest_first(run / records.CHECKPOINTS):
        if not path.name.startswith(f"step-{MIDDLE:010d}"):
            path.unlink()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Train all methods on two ranks: uninterrupted (`NAME`), and resumed from the middle (`NAME_parted`)."""
    folder = tmp_path_factory.mktemp("methods")
    whole: list[list[str]] = []
    parted: list[list[str]] = []
    for name, flags in CASES.items():  # `point` is the first: others start from it
        flags = tuple(
            flag.replace("=point", f"={folder / 'point'}") if "init_from=" in flag else flag for flag in flags
        )
        whole += [train(name, flags, folder / name), predict(name, folder / name)]
        parted += [train(name, flags, folder / f"{name}_parted")]
    running.all_succeed(folder / "whole", *whole, ranks=2)
    for name in CASES:
        as_in_the_middle(folder / name, folder / f"{name}_parted")
    running.all_succeed(folder / "parted", *parted, ranks=2)
    for name in CASES:
        shutil.copy(folder / name / records.PREDICTIVE, folder / f"{name}.npz")
    (folder / "point").rename(folder / "moved")  # the runs that started from it no longer need it
    alone = [predict(name, folder / ("moved" if name == "point" else name)) for name in CASES]
    running.all_succeed(folder / "alone", *alone, ranks=1)
    (folder / "moved").rename(folder / "point")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_run_in_two_parts_ends_where_an_uninterrupted_one_ends(folder, name):
    assert len(running.read_json(folder / f"{name}_parted", records.PROVENANCE)) == 2
    whole, parted = running.stored(folder / name), running.stored(folder / f"{name}_parted")
    assert whole.keys() == parted.keys()
    for variable, values in whole.items():
        np.testing.assert_array_equal(values, parted[variable], err_msg=variable)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_predict_what_one_predicts(folder, name):
    """The draws of an example are the same on whichever rank they are computed."""
    with np.load(folder / f"{name}.npz") as two, np.load(folder / name / records.PREDICTIVE) as one:
        assert set(one) == set(two)
        for array in one:
            np.testing.assert_array_equal(one[array], two[array], err_msg=array)


@pytest.mark.parametrize("name", CASES)
def test_conformal_sets_of_every_method_hold_the_truth(folder, name):
    """The number of covered labels is beta-binomial; with probability 1e-9 it is outside of these bounds."""
    found = running.read_json(folder / name, records.UNCERTAINTY)["conformal"]
    low, high = conformal.likely_coverage(found["num_calibration"], found["num_scored"], COVERAGE, 1 - 1e-9)
    for score in conformal.CLASS_SCORES:
        assert low <= found[score]["coverage"] <= high
