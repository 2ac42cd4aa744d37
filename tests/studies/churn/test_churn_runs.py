"""A study of the digits from end to end: fixed seeds repeat bit for bit, and an inserted error is found."""

import json
import os
import shutil

import numpy as np
import pytest
import running

from bnn_hvd.run import records

pytestmark = pytest.mark.slow
STEPS = 15
STUDY = (
    "churn", "--architecture=mlp", "--hidden=16", "--num_blocks=1", "--method=point", f"--steps={STEPS}",
    "--batch_size=32",    "--learning_rate=0.1", "--replicas=2", "--determinism=on", "--checkpoint_every_steps=5",
)  # fmt: skip


def rows_of(folder):
    return {row["regime"]: row for row in json.loads((folder / records.CHURN).read_text())}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("churn")
    np.save(folder / "groups.npy", np.arange(360) % 2)
    flags = ["--regimes=hardware,init,nudge,bit", "--bits=22", f"--groups={folder / 'groups.npy'}"]
    job = running.bnn_hvd(*STUDY, *flags, f"--run={folder / 'study'}")
    assert job.returncode == 0, job.stderr
    return folder / "study"


def test_with_every_seed_fixed_nothing_differs(study):
    row = rows_of(study)["hardware"]
    assert (row["churn"], row["bitwise_equal"], row["first_difference_step"]) == (0, True, None)
    assert set(row["weights"]["distance"]) == {0.0}


def test_another_start_differs_from_the_first_step_and_everywhere(study):
    row = rows_of(study)["init"]
    assert row["churn"] > 0.1
    assert row["first_difference_step"] == 1
    assert row["weights"]["steps"] == [5, 10, 15]
    assert min(row["weights"]["distance"]) > 1
    assert sum(part["examples"] * part["churn"] for part in row["classes"]) == pytest.approx(360 * row["churn"])
    assert sum(part["examples"] * part["churn"] for part in row["groups"]) == pytest.approx(360 * row["churn"])
    assert [part["group"] for part in row["groups"]] == ["0", "1"]


def test_one_ulp_in_one_gradient_is_found_with_its_step(study):
    assert rows_of(study)["nudge"]["first_difference_step"] == 10


def test_a_flipped_bit_of_one_weight_is_found_at_the_first_step(study):
    row = rows_of(study)["bit"]  # bit 22, the highest of the mantissa, is worth up to half of the weight
    assert row["first_difference_step"] == 1
    assert not row["bitwise_equal"]


def test_every_figure_is_drawn_and_the_sheet_shows_only_what_differs(study):
    for name in ("churn", "classes", "groups", "divergence", "accuracies", "examples"):
        assert (study / f"{name}.png").stat().st_size > 5000
    with np.load(study / records.CHURN_EXAMPLES) as found:
        assert (found["labels_KE"] != found["labels_KE"][0]).any(axis=0).all()


def test_the_curves_have_top1_and_top5_of_every_replica(study):
    curves = json.loads((study / records.CURVES).read_text())
    assert [len(runs) for runs in curves] == [2, 2, 2, 2]
    for run in (run for runs in curves for run in runs):
        assert len(run["epoch"]) == len(run["accuracy"]) == len(run["top5_accuracy"]) > 0
        assert all(top1 < top5 <= 1 for top1, top5 in zip(run["accuracy"], run["top5_accuracy"], strict=True))


def test_started_again_it_trains_nothing(study, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    before = {path: os.stat(path).st_mtime_ns for path in copy.rglob("summary.json")}
    again = running.bnn_hvd(*STUDY, "--regimes=hardware,init,nudge", f"--run={copy}")
    assert again.returncode == 0, again.stderr
    assert "4 of 4 runs are finished already" in again.stdout
    assert "predicting" not in again.stdout
    assert {path: os.stat(path).st_mtime_ns for path in copy.rglob("summary.json")} == before


@running.needs_horovodrun
@pytest.mark.parallel
def test_two_ranks_are_close_to_one_or_with_blocks_the_same(tmp_path):
    """Two halves of a batch are summed in another order than the whole: they are equal up to rounding only."""
    job = running.bnn_hvd(*STUDY, "--regimes=ranks,blocks", "--ranks=1,2", f"--run={tmp_path}")
    assert job.returncode == 0, job.stderr
    apart, blocks = (rows_of(tmp_path)[regime] for regime in ("ranks", "blocks"))
    assert apart["ranks"] == blocks["ranks"] == [1, 2]
    assert not apart["bitwise_equal"]
    assert apart["weights"]["distance"][-1] < 1e-5
    assert (blocks["churn"], blocks["bitwise_equal"], blocks["first_difference_step"]) == (0, True, None)
