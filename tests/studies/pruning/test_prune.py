"""`prune` on real runs: `predict` can read the pruned run."""

import shutil

import numpy as np
import pytest
import running

from bnn_hvd.config import resolve
from bnn_hvd.inference import parameter_index
from bnn_hvd.models.build import build_network
from bnn_hvd.run import records, rundir
from bnn_hvd.targets import Classes

NETWORK = ("--architecture=mlp", "--hidden=16", "--num_blocks=1", "--batch_size=32", "--threads=1", "--eval_draws=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train a `vi` and a `point` run of the digits, prune both, and predict with a pruned run."""
    folder = tmp_path_factory.mktemp("prune")
    train = ["train", *NETWORK, "--epochs=8", "--learning_rate=0.01"]
    runs = {name: f"--run={folder / name}" for name in ("vi", "point", "vi_pruned")}
    prune = ["prune", "--fractions=0.5,0.95", "--num_draws=8", "--threads=1"]
    commands = [
        [*train, "--method=vi", runs["vi"]],
        [*train, "--method=point", runs["point"]],
        [*prune, runs["vi"]],
        [*prune, runs["point"], "--scope=global", "--write_fraction=0.25"],
        ["predict", runs["vi_pruned"], "--num_draws=8", "--threads=1"],
        [*prune, runs["point"], "--criterion=snr"],
        [*prune, runs["vi"], f"--pruned_run={folder / 'point'}"],
        ["plot", runs["vi_pruned"]],
    ]
    outcomes = [ranks[0] for ranks in running.several(folder / "job", *commands)]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0, 0, 0, 2, 2, 0], outcomes
    (folder / "errors").write_text(outcomes[5].stderr + outcomes[6].stderr)
    (folder / "plotted").write_text(outcomes[7].stdout)
    return folder


def params(run):
    return running.stored(run)["params:0"]


def network(**flags):
    return build_network(resolve(architecture="mlp", hidden=16, num_blocks=1, **flags), (8, 8, 1), Classes(10))


def test_rows_of_both_criteria(folder):
    rows = running.read_json(folder / "vi", records.PRUNING)
    assert [(row["criterion"], row["fraction"]) for row in rows] == [
        (criterion, fraction) for criterion in ("snr", "magnitude") for fraction in (0.0, 0.5, 0.95)
    ]
    assert rows[0]["accuracy"] == rows[3]["accuracy"] > 0.8
    assert rows[1]["of_all_kernels"] == pytest.approx(0.5)
    assert rows[1]["accuracy"] > rows[0]["accuracy"] - 0.05
    assert rows[2]["accuracy"] < rows[0]["accuracy"] - 0.05  # 5 % of 1,536 weights are too few to classify digits
    assert (folder / "vi" / "plots" / "pruning.png").stat().st_size > 10_000


def test_plot_of_a_pruned_run_advises_no_training(folder):
    """`train --run=...` would be refused there, as its flags are others."""
    printed = (folder / "plotted").read_text()
    assert "no metrics.jsonl; only the run that was pruned has it" in printed
    assert "bnn_hvd train" not in printed


def test_the_written_run_predicts_as_the_row_says(folder):
    row = running.read_json(folder / "vi", records.PRUNING)[1]
    predicted = running.read_json(folder / "vi_pruned", "uncertainty.json")
    assert (predicted["accuracy"], predicted["nll"]) == pytest.approx((row["accuracy"], row["nll"]))


def test_a_pruned_weight_is_zero_in_every_draw_and_the_others_are_untouched(folder):
    before, after, layout = params(folder / "vi"), params(folder / "vi_pruned"), network(method="vi")
    loc = parameter_index.of_theta(rundir.read_config(folder / "vi").method.options, layout)
    zero = (after[loc] == 0) & (before[loc] != 0)
    assert zero.sum() == sum(p.size for p in layout.parameters if p.is_kernel) // 2
    bayesian = zero[: layout.num_bayesian]
    scale = np.exp(after[parameter_index.of_log_scale(layout)])
    assert (scale[bayesian] == 0).all()
    assert (scale[~bayesian] > 0).all()
    np.testing.assert_array_equal(after[loc][~zero], before[loc][~zero])


def test_a_point_run_loses_its_smallest_kernels(folder):
    before, after, layout = params(folder / "point"), params(folder / "point_pruned"), network(method="point")
    gone, kept, kernel = (after == 0) & (before != 0), after != 0, np.zeros(len(before), bool)
    for p, index in zip(layout.parameters, layout.slices(np.arange(len(before))).values(), strict=True):
        kernel[index] = p.is_kernel
    assert gone.sum() == kernel.sum() // 4
    assert np.abs(before[gone]).max() <= np.abs(before[kept & kernel]).min()
    assert not (gone & ~kernel).any()


def test_mistakes(folder):
    said = (folder / "errors").read_text()
    assert "--criterion=snr needs weights with a scale, and --method=point has none" in said
    assert "is a run that was trained: give another --pruned_run" in said
    shutil.rmtree(folder / "point_pruned")
