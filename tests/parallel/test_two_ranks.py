"""Two ranks: runs can be repeated, interrupted and resumed, also on one rank; errors name the rank.

Each process runs several commands, because its start takes longer than they do.
"""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import running
from running import SLOW, TINY

from bnn_hvd.data import shards
from bnn_hvd.inference.mean_field_step import REFERENCE_SCALE
from bnn_hvd.run import checkpoint, records

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]
EPOCHS = 4
STEPS = EPOCHS * 22  # an epoch of the digits is 22 global batches of 2 x 32
BAD_STEP, BAD_RANK = 2, 1
OF_DRAWS = ("--mode=median,std", "--quantiles=0.1,0.9", "--num_draws=30", "--check_draws=200", "--threads=1")


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> tuple[Path, dict[str, list[running.Outcome]]]:
    """Run commands on two ranks: trainings, predictions, and a training that fails."""
    folder = tmp_path_factory.mktemp("two")
    train = ["train", *TINY, f"--epochs={EPOCHS}"]
    npz = ["train", "--dataset=npz", "--model=CNN_FC", "--batch_size=32", "--threads=1", "--standardize=none"]
    good, bad = running.write_npz(folder / "good.npz", num_train=256), folder / "bad.npz"
    with np.load(good) as arrays:
        x = arrays["x_train"].copy()
    x[shards.epoch_permutation(0, 0, len(x))[BAD_STEP * 64 + BAD_RANK]] = 3e38  # that rank gets it in that step
    running.write_npz(bad, num_train=256, x_train=x)
    commands = {
        "a": [*train, f"--run={folder / 'a'}"],
        "predict": ["predict", f"--run={folder / 'a'}", "--num_draws=30", "--check_draws=200", "--threads=1"],
        "steps": ["train", *TINY, "--steps=10", f"--run={folder / 'steps'}"],
        "small": [*npz, f"--data_dir={good}", "--steps=4", f"--run={folder / 'small'}"],
        "fp16": [*train, "--compression=fp16", f"--run={folder / 'fp16'}"],
        "sine": [
            "train",
            "--dataset=sine",
            "--architecture=mlp",
            "--hidden=8",
            "--likelihood=heteroscedastic",
            "--threads=1",
            "--steps=10",
            f"--run={folder / 'sine'}",
        ],
        "predict_sine": ["predict", f"--run={folder / 'sine'}", *OF_DRAWS],
        "bad": [*npz, f"--data_dir={bad}", "--steps=4", "--checkpoint_every_steps=1", f"--run={folder / 'bad'}"],
    }
    outcomes = running.several(folder / "outcomes", *commands.values(), ranks=2)
    return folder, dict(zip(commands, outcomes, strict=True))


@pytest.fixture(scope="module")
def alone(job) -> Path:
    """Predict with the runs of two ranks on one rank, evaluate the finished ones, and resume one for 23 steps."""
    folder = job[0]
    for name in ("a", "small", "sine"):
        shutil.copytree(folder / name, folder / f"{name}_alone")
    running.all_succeed(
        folder / "alone",
        ["predict", f"--run={folder / 'a_alone'}", "--num_draws=30", "--check_draws=200", "--threads=1"],
        ["train", f"--flagfile={folder / 'a' / records.CONFIG}", f"--run={folder / 'a_alone'}"],
        ["train", f"--flagfile={folder / 'small' / records.CONFIG}", f"--run={folder / 'small_alone'}"],
        ["train", *TINY, "--steps=33", f"--run={folder / 'steps'}"],
        ["predict", f"--run={folder / 'sine_alone'}", *OF_DRAWS],
        ["train", f"--flagfile={folder / 'sine' / records.CONFIG}", f"--run={folder / 'sine_alone'}"],
    )
    return folder


@pytest.fixture(scope="module")
def interrupted(job, alone) -> Path:
    """Train a run on two ranks: it is killed, resumed, stopped by a signal to one rank, and resumed to its end."""
    folder = job[0]
    run = folder / "interrupted"
    train = ["train", *TINY, *SLOW, f"--epochs={EPOCHS}", f"--run={run}"]
    killed = running.start(*running.CLI, *train, ranks=2)
    running.wait_until(lambda: running.newest_step(run), killed)
    running.kill_all(killed)
    at_kill = running.newest_step(run)
    assert at_kill < STEPS
    assert not (run / records.SUMMARY).exists()

    stopped = running.start(*running.several_args(folder / "stopped", train), ranks=2)
    running.wait_until(lambda: running.newest_step(run) > at_kill, stopped)
    last = running.processes(stopped, "several.py")[-1]
    for _ in range(2):
        last.send_signal(signal.SIGTERM)
    stopped.wait(timeout=running.TIMEOUT_S)
    shutil.copy(run / records.SUMMARY, folder / "stopped" / records.SUMMARY)

    running.all_succeed(
        folder / "resumed",
        train,
        ["train", *TINY, "--steps=40", f"--run={folder / 'steps'}"],
        ["train", *TINY, f"--epochs={EPOCHS}", f"--run={folder / 'same'}"],  # the command of `a`, in other processes
        ranks=2,
    )
    return folder


def weights(run: Path) -> str:
    return running.read_json(run)["weights_sha256"]


def test_two_ranks_train_together(job):
    """With two ranks, the global batch is twice as large, and an epoch has half the steps."""
    summary = running.read_json(job[0] / "a")
    assert {key: summary[key] for key in ("status", "ranks", "batch_size", "global_batch_size", "steps")} == {
        "status": "done", "ranks": 2, "batch_size": 32, "global_batch_size": 64, "steps": STEPS,
    }  # fmt: skip
    assert summary["examples_seen"] == 64 * STEPS
    assert summary["test"]["accuracy"] > 0.7


def test_the_same_command_twice_gives_the_same_weights(interrupted):
    assert weights(interrupted / "a") == weights(interrupted / "same")
    assert running.rows(interrupted / "a") == running.rows(interrupted / "same")


def test_only_rank_0_prints_and_writes(job):
    folder, outcomes = job
    for name in ("a", "predict", "steps", "small", "fp16"):
        root, other = outcomes[name]
        assert (root.code, other.code) == (0, 0), other.stderr
        assert root.stdout
        assert other.stdout == ""
        assert "bnn_hvd:" not in other.stderr
        lines = root.stdout.splitlines()
        assert len(lines) == len(set(lines))
    train = [row["step"] for row in running.rows(folder / "a", "train")]
    assert len(train) == len(set(train))
    (session,) = running.read_json(folder / "a", records.PROVENANCE)
    assert session["ranks"] == len(session["hosts"]) == 2
    assert len(list((folder / "a" / records.TENSORBOARD).iterdir())) == 1


def test_half_the_bits_of_the_gradient_lead_to_nearly_the_same_weights(job):
    """The weights are equal on both ranks, for otherwise no checkpoint would be written."""
    whole, half = (running.read_json(job[0] / name) for name in ("a", "fp16"))
    assert 2 * half["allreduce_bytes_per_step"] == whole["allreduce_bytes_per_step"] == 4 * whole["num_parameters"]
    found = [running.stored(job[0] / name)["params:0"] for name in ("a", "fp16")]
    bayesian = len(found[0]) - whole["num_weights"]
    log_scale, loc, rest = np.split(np.abs(found[1] - found[0]), [bayesian, 2 * bayesian])
    # Adam moves a weight by about the learning rate, a mean by 1 + scale / REFERENCE_SCALE times that. A gradient that
    # is
    # rounded twice changes that move by up to 2^-10 of it. The bound is twice as large, because each step depends on
    # those before it.
    bound = 2 * STEPS * 2e-3 * 2**-10
    assert 0 < rest.max() < bound
    assert 0 < loc.max() < bound * (1 + np.exp(found[0][:bayesian].max()) / REFERENCE_SCALE)
    # The rounding of a scale's gradient is 2^-10 of its noise, which is large: found were 0.007.
    assert 0 < np.sqrt(np.mean(log_scale**2)) < 0.02
    assert "--compression=fp16\n" in (job[0] / "fp16" / records.CONFIG).read_text()


@pytest.mark.parametrize("name", ["a", "sine"])
def test_prediction_does_not_depend_on_the_ranks(alone, name):
    """With --threads=1, predictions are equal bit for bit."""
    found = []
    for run in (alone / name, alone / f"{name}_alone"):
        with np.load(run / records.PREDICTIVE) as arrays:
            found.append({key: arrays[key].tobytes() for key in arrays})
    assert found[0] == found[1]
    two, one = (running.read_json(alone / run, records.UNCERTAINTY) for run in (name, f"{name}_alone"))
    assert (two["ranks"], one["ranks"]) == (2, 1)
    assert two["posterior_check"] == one["posterior_check"]
    assert two["posterior_check"]["pareto_k"] > 0


@pytest.mark.parametrize("name", ["a", "small", "sine"])
def test_evaluation_does_not_depend_on_the_ranks(alone, name):
    """This holds, too, where the test part is so small (`small`) that one rank has nothing to evaluate."""
    two, one = running.read_json(alone / name), running.read_json(alone / f"{name}_alone")
    assert one["test"] == two["test"]
    assert one["weights_sha256"] == two["weights_sha256"]


def test_an_error_of_one_rank_stops_all_and_names_it(job):
    folder, outcomes = job
    for rank, outcome in enumerate(outcomes["bad"]):
        assert outcome.code == 1
        assert "Traceback" not in outcome.stderr
        (error,) = running.errors(outcome.stderr)  # each rank prints one; normally the launcher ends rank 1 first
        assert error.startswith(f"bnn_hvd: error{' on rank 1' * rank}: the loss is not finite ")
        assert f"at step {BAD_STEP + 1} on rank {BAD_RANK};" in error
    (newest, *_) = checkpoint.list_newest_first(folder / "bad" / records.CHECKPOINTS)
    assert newest.name.startswith(f"step-{BAD_STEP:010d}")
    arrays = checkpoint.read_newest_good(folder / "bad" / records.CHECKPOINTS)
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_signal_to_one_rank_stops_all_with_a_checkpoint(interrupted):
    (ranks,) = running.outcomes(interrupted / "stopped", 1, 2)
    assert [outcome.code for outcome in ranks] == [75, 75], ranks
    summary = running.read_json(interrupted / "stopped")
    assert summary["status"] == "interrupted"
    assert 0 < summary["steps"] < STEPS
    assert f"stopped early at step {summary['steps']}" in ranks[0].stdout
    assert ranks[1].stdout == ""


def test_killed_and_stopped_it_ends_bit_for_bit_where_the_whole_run_ends(interrupted):
    assert weights(interrupted / "interrupted") == weights(interrupted / "a")
    steps = [row["step"] for row in running.rows(interrupted / "interrupted", "train")]
    assert steps == list(range(1, STEPS + 1))
    assert running.rows(interrupted / "interrupted", "eval") == running.rows(interrupted / "a", "eval")


def test_the_number_of_ranks_may_change(interrupted):
    """The run is on 2 ranks, then 1, then 2, and counts examples.

    The 29 + 32 examples that the one rank left of the epoch fill no batch of two ranks: the next epoch begins.
    """
    run = interrupted / "steps"
    assert [session["ranks"] for session in running.read_json(run, records.PROVENANCE)] == [2, 1, 2]
    summary = running.read_json(run)
    assert summary["status"] == "done"
    assert summary["steps"] == 40
    assert summary["examples_seen"] == 10 * 64 + 23 * 32 + 7 * 64
    assert summary["epochs"] == pytest.approx(1 + 7 * 64 / 1437)
