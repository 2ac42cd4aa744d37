"""--until_converged ends a run after the first round that changed nothing, at the same step however it was cut."""

from pathlib import Path

import pytest
import running

from bnn_hvd.run import records

TOTAL = 1600  # steps: rounds end at 200, 400, 800 and 1600


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Train a run at once; the same in four sessions; one whose learning rate is too small to arrive."""
    folder = tmp_path_factory.mktemp("until_converged")
    data = running.write_npz(folder / "data.npz")
    train = [
        "train", "--dataset=npz", f"--data_dir={data}", "--architecture=linear", "--method=point", "--batch_size=16",
        "--until_converged", "--eval_every_epochs=0", "--threads=1", f"--steps={TOTAL}", "--log_every_steps=20",
    ]  # fmt: skip
    fast = [*train, "--learning_rate=0.1", "--lr_schedule=tail", "--lr_scaling=none"]
    stop = [*fast, f"--run={folder / 'parted'}", "--max_runtime_s=0.001", "--steps_per_call=37"]
    running.several(folder / "stops", *[stop] * 4)
    running.all_succeed(
        folder / "job", [*fast, f"--run={folder / 'whole'}"], [*fast, f"--run={folder / 'parted'}"],
        [*train, f"--run={folder / 'slow'}", "--learning_rate=1e-3"],
    )  # fmt: skip
    return folder


def test_a_run_ends_with_the_round_that_changed_nothing(folder):
    summary = running.read_json(folder / "whole")
    assert summary["steps"] in (400, 800)
    assert summary["status"] == "done"
    assert summary["convergence"]["converged"] is True
    assert running.rows(folder / "whole", "eval")[-1]["step"] == summary["steps"]


def test_one_that_was_stopped_ends_at_the_same_step_with_the_same_bits(folder):
    whole, parted = (running.read_json(folder / name) for name in ("whole", "parted"))
    assert len(running.read_json(folder / "parted", records.PROVENANCE)) == 5  # sessions
    assert parted["steps"] == whole["steps"]
    assert parted["weights_sha256"] == whole["weights_sha256"]


def test_one_that_has_not_arrived_makes_all_steps_and_says_so(folder):
    summary = running.read_json(folder / "slow")
    assert summary["steps"] == TOTAL
    assert summary["convergence"]["converged"] is False


@pytest.mark.parallel
@running.needs_horovodrun
def test_two_ranks_end_at_the_same_step(folder):
    train = [
        "train", "--dataset=npz", f"--data_dir={folder / 'data.npz'}", "--architecture=linear", "--method=ensemble",
        "--num_particles=2", "--batch_size=16", "--until_converged", "--eval_every_epochs=0", "--threads=1",
        f"--steps={TOTAL}", "--log_every_steps=20", "--learning_rate=0.1", "--lr_schedule=tail",
    ]  # fmt: skip
    [ranks] = running.all_succeed(folder / "two", [*train, f"--run={folder / 'members'}"], ranks=2)
    assert len(ranks) == 2
    summary = running.read_json(folder / "members")
    assert summary["steps"] in (400, 800)
    assert f"converged: done at step {summary['steps']}" in ranks[0].stdout
    assert "only about 50%" in summary["convergence"]["why"]  # of the spread of many members: training changes nothing
