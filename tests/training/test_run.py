"""One process: the files of a run, its repetition, and that an interrupted run ends with the same weights."""

import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import running
from running import SLOW, TINY

from bnn_hvd.data import shards
from bnn_hvd.distributed import launcher
from bnn_hvd.run import checkpoint, records
from bnn_hvd.training.stopping import StopRequest

EPOCHS, STEPS_PER_EPOCH = 12, 44  # of the digits, with a batch of 32
STEPS = EPOCHS * STEPS_PER_EPOCH
PERIODS = "--checkpoint_every_steps=50"
SUMMARY = {
    "status": str, "model": str, "dataset": str, "num_train": int, "num_parameters": int, "ranks": int,
    "threads": int, "batch_size": int, "global_batch_size": int, "steps": int, "epochs": float, "seed": int,
    "train_wall_s": float, "compile_s": float, "step_ms_median": float, "examples_per_s": float,
    "weights_sha256": str, "test": dict, "finished": str,
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Train uninterrupted runs: `whole`, `slow` (the same in calls of one step), `raised` (--epochs was raised)."""
    folder = tmp_path_factory.mktemp("runs")
    train = ["train", *TINY]
    running.all_succeed(
        folder / "first",
        [*train, f"--run={folder / 'whole'}", f"--epochs={EPOCHS}", PERIODS],
        [*train, f"--run={folder / 'slow'}", f"--epochs={EPOCHS}", *SLOW],
        [*train, f"--run={folder / 'raised'}", f"--epochs={EPOCHS // 3}"],
        [*train, f"--run={folder / 'raised'}", f"--epochs={EPOCHS}"],
    )
    return folder


@pytest.fixture(scope="module")
def repeated(runs) -> Path:
    """Repeat `whole` from its config.cfg, elsewhere and in a fresh process; start a copy of the finished run again."""
    flags = ["train", f"--flagfile={runs / 'whole' / records.CONFIG}", f"--run={runs / 'repeat'}"]
    shutil.copytree(runs / "whole", runs / "again")
    running.all_succeed(runs / "second", flags, [*flags[:2], f"--run={runs / 'again'}"], fresh=True)
    return runs


def weights(run: Path) -> str:
    return running.read_json(run)["weights_sha256"]


def test_run_directory_is_complete(runs):
    run = runs / "whole"
    for name in (records.CONFIG, records.PROVENANCE, records.DATA, records.METRICS, records.TIMINGS, records.SUMMARY):
        assert (run / name).stat().st_size > 0, name
    for folder, pattern in (
        (records.CHECKPOINTS, "step-*.npz"),
        (records.POSTERIOR, "*.npz"),
        (records.TENSORBOARD, "*"),
    ):
        assert list((run / folder).glob(pattern)), folder
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp") or path.name == ".writable"]


def test_summary(runs):
    found = running.read_json(runs / "whole")
    assert {name: type(found[name]) for name in SUMMARY} == SUMMARY
    fixed = {
        "status": "done", "model": "BNN_FC_flip", "dataset": "digits", "num_train": 1437, "ranks": 1, "threads": 1,
        "batch_size": 32, "global_batch_size": 32, "steps": STEPS, "epochs": EPOCHS, "seed": 7,
        "num_parameters": 2 * 64 * 64 + 64 + 64 * 10 + 10,
    }  # fmt: skip
    assert {name: found[name] for name in fixed} == fixed
    assert found["test"].keys() >= {"accuracy", "nll", "ece", "num_draws"}
    assert found["test"]["num_draws"] == 2
    assert found["test"]["accuracy"] > 0.8
    assert min(found[name] for name in ("train_wall_s", "compile_s", "step_ms_median", "examples_per_s")) > 0
    assert re.fullmatch("[0-9a-f]{64}", found["weights_sha256"])


def test_times_leave_out_compilation_evaluation_and_checkpoints(runs):
    found = running.read_json(runs / "whole")
    timings = records.read_jsonl(runs / "whole" / records.TIMINGS)
    seconds = {phase: [r["seconds"] for r in timings if r["phase"] == phase] for phase in ("compile", "train", "eval")}
    assert found["compile_s"] == pytest.approx(sum(seconds["compile"]))
    assert found["train_wall_s"] == pytest.approx(sum(seconds["train"]))
    assert found["examples_per_s"] == pytest.approx(32 * (STEPS - 1) / found["train_wall_s"])
    assert len(seconds["eval"]) == EPOCHS // 4
    assert sum(row.get("steps", 0) for row in timings) == STEPS


def test_provenance(runs):
    (session,) = running.read_json(runs / "whole", records.PROVENANCE)
    assert session["argv"]
    assert len(session["hosts"]) == session["ranks"] == session["threads"] == 1
    assert "numpy" in session["packages"]
    assert session["packages"].keys() & {"tensorflow", "tensorflow-cpu"}
    assert session.keys() >= {"git_revision", "environment", "python", "bnn_hvd"}


def test_metrics(runs):
    train, evaluated = running.rows(runs / "whole", "train"), running.rows(runs / "whole", "eval")
    assert {"step", "epoch", "examples_seen", "nll", "kl", "elbo", "loss", "accuracy", "kl_weight"} <= train[-1].keys()
    assert [row["step"] for row in evaluated] == [4 * STEPS_PER_EPOCH * i for i in (1, 2, 3)]
    assert train[-1]["step"] == STEPS
    assert train[-1]["elbo"] == pytest.approx(-train[-1]["nll"] - train[-1]["kl"] / 1437, rel=1e-6)
    assert train[-1]["nll"] < train[0]["nll"] / 3
    test = running.read_json(runs / "whole")["test"]
    assert {name: evaluated[-1][name] for name in test} == test


def test_posterior_histograms(runs):
    paths = sorted((runs / "whole" / records.POSTERIOR).glob("*.npz"))
    assert len(paths) == 4  # one at the start and one at each evaluation
    with np.load(paths[0]) as first:
        assert first["dense1/kernel/loc_counts"].sum() == first["dense1/kernel/scale_counts"].sum() == 64 * 64
        assert first["logits/kernel/loc_counts"].sum() == 640
        assert "logits/kernel/scale_counts" not in first  # its weights are deterministic
        edges = first["dense1/kernel/scale_edges"]
        assert edges[0] < 0.01 < edges[-1]  # the initial scale, --init_scale, lies between


def test_one_row_per_step(runs):
    """With --log_every_steps=1, every step has its row; with --keep=2, two checkpoints are kept."""
    assert [row["step"] for row in running.rows(runs / "slow", "train")] == list(range(1, STEPS + 1))
    kept = sorted(path.name[:15] for path in (runs / "slow" / records.CHECKPOINTS).iterdir())
    assert kept == [f"step-{STEPS - 8:010d}", f"step-{STEPS:010d}"]


def test_calls_checkpoints_and_rows_do_not_change_the_weights(runs):
    assert weights(runs / "slow") == weights(runs / "whole")


def test_raised_epochs_go_on(runs):
    """The schedules of the first part were those of a shorter run, so the weights are others."""
    assert weights(runs / "raised") != weights(runs / "whole")
    assert running.read_json(runs / "raised")["steps"] == STEPS
    assert "--epochs=12\n" in (runs / "raised" / records.CONFIG).read_text()
    assert len(running.read_json(runs / "raised", records.PROVENANCE)) == 2


def test_config_cfg_repeats_the_run_bit_for_bit(repeated):
    assert weights(repeated / "repeat") == weights(repeated / "whole")
    assert running.rows(repeated / "repeat") == running.rows(repeated / "whole")
    old, new = ((repeated / name / records.CONFIG).read_text() for name in ("whole", "repeat"))
    assert old.replace(str(repeated / "whole"), str(repeated / "repeat")) == new


def test_a_finished_run_started_again_changes_nothing(repeated):
    old, new = (running.read_json(repeated / name) for name in ("whole", "again"))
    assert new == old
    assert running.rows(repeated / "again") == running.rows(repeated / "whole")
    names = (
        [path.name for path in sorted((repeated / run / records.CHECKPOINTS).iterdir())] for run in ("whole", "again")
    )
    assert len(set(map(tuple, names))) == 1


def test_a_run_says_what_it_trains_before_the_first_step_and_ends_with_the_next_command(runs):
    lines = running.outcomes(runs / "first", 4, 1)[0][0].stdout.splitlines()
    assert lines[0].startswith("train: fc by vi, ")
    assert lines[1].startswith("data: digits, 1,437 training examples, 32 in each step; 360 for testing")
    assert lines[2].startswith("ranks: 1, ")
    assert lines[3] == f"run: {runs / 'whole'}"
    assert f"steps: {STEPS}" in lines[4]
    assert lines[5].startswith(f"step 1/{STEPS}  loss ")  # a sign of life, well before --log_every_steps
    assert lines[-1] == f"done at step {STEPS}. Next: python -m bnn_hvd predict --run={runs / 'whole'}"
    assert f"goes on after step {STEPS // 3} of {STEPS}" in running.outcomes(runs / "first", 4, 1)[3][0].stdout


def test_a_finished_run_started_again_says_when_it_was_finished(repeated):
    printed = running.outcomes(repeated / "second", 2, 1)[1][0].stdout
    finished = running.read_json(repeated / "whole")["finished"]
    assert f"finished on {finished} at step {STEPS}: nothing is left to train" in printed
    assert f"Next: python -m bnn_hvd predict --run={repeated / 'again'}" in printed


class Stage(NamedTuple):
    """The state of an interrupted run after one of its sessions."""

    code: int
    newest_step: int
    summary: dict[str, Any] | None


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> tuple[Path, dict[str, Stage]]:
    """Train one run in five sessions.

    It is killed, stopped by two signals (each sent twice), stopped by --max_runtime_s, and finished.
    """
    run = tmp_path_factory.mktemp("interrupted") / "run"
    train = ["train", *TINY, *SLOW, f"--run={run}", f"--epochs={EPOCHS}"]
    stages = {}

    def note(name: str, code: int) -> None:
        there = (run / records.SUMMARY).exists()
        stages[name] = Stage(code, running.newest_step(run), running.read_json(run) if there else None)

    for name in ("SIGKILL", "SIGTERM", "SIGUSR1"):
        before = running.newest_step(run)
        job = running.start(*running.CLI, *train)
        running.wait_until(lambda before=before: running.newest_step(run) > before, job)
        if name == "SIGKILL":
            running.kill_all(job)
        else:
            job.send_signal(signal.Signals[name])
            job.send_signal(signal.Signals[name])
        note(name, job.wait(timeout=running.TIMEOUT_S))
    note("max_runtime_s", running.bnn_hvd(*train, "--max_runtime_s=0.01").returncode)
    note("end", running.bnn_hvd(*train).returncode)
    return run, stages


def test_killed_in_the_middle(interrupted):
    stage = interrupted[1]["SIGKILL"]
    assert stage.code == -signal.SIGKILL
    assert 0 < stage.newest_step < STEPS
    assert stage.summary is None


@pytest.mark.parametrize(
    ("name", "before"), [("SIGTERM", "SIGKILL"), ("SIGUSR1", "SIGTERM"), ("max_runtime_s", "SIGUSR1")]
)
def test_stopped_early_with_a_checkpoint(interrupted, name, before):
    stage = interrupted[1][name]
    assert stage.code == 75
    assert interrupted[1][before].newest_step < stage.newest_step < STEPS
    assert stage.summary["status"] == "interrupted"
    assert stage.summary["steps"] == stage.newest_step
    assert stage.summary["test"] is None


def test_interrupted_run_ends_bit_for_bit_where_the_whole_one_ends(interrupted, runs):
    run, stages = interrupted
    assert stages["end"].code == 0
    assert stages["end"].summary["status"] == "done"
    assert weights(run) == weights(runs / "whole")
    assert stages["end"].summary["test"] == running.read_json(runs / "whole")["test"]


def test_interrupted_run_has_the_metrics_of_the_whole_one(interrupted, runs):
    """It has one row for each step, with the same numbers."""
    assert running.rows(interrupted[0]) == running.rows(runs / "slow")


@pytest.fixture(scope="module")
def failed(tmp_path_factory) -> dict[str, tuple[Path, running.Outcome]]:
    """Run trainings that fail: an example overflows in the third step, or a step overflows the weights."""
    folder = tmp_path_factory.mktemp("failed")
    data = running.write_npz(folder / "data.npz")
    with np.load(data) as good:
        x = good["x_train"].copy()
    x[shards.epoch_permutation(0, 0, len(x))[2 * 32]] = 3e38
    overflow = running.write_npz(folder / "overflow.npz", x_train=x)
    train = [
        "train", "--dataset=npz", "--model=CNN_FC", "--standardize=none", "--batch_size=32", "--epochs=4",
        "--checkpoint_every_steps=1", "--eval_every_epochs=0", "--threads=1",
    ]  # fmt: skip
    commands = {
        "loss": [f"--data_dir={overflow}"],
        "diverged": [f"--data_dir={data}", "--learning_rate=1e30"],
        "weights": [f"--data_dir={data}", "--optimizer=sgd", "--learning_rate=1e39"],
        "end": [f"--data_dir={data}", "--optimizer=sgd", "--learning_rate=1e39", "--epochs=1", "--batch_size=96"],
    }
    outcomes = running.several(
        folder / "outcomes", *([*train, *flags, f"--run={folder / name}"] for name, flags in commands.items())
    )
    return {name: (folder / name, ranks[0]) for name, ranks in zip(commands, outcomes, strict=True)}


@pytest.mark.parametrize(
    ("name", "message", "last_good"),
    [
        ("loss", "the loss is not finite at step 3 on rank 0", 2),  # step 2 was the last good one
        ("diverged", "the loss is not finite at step 2 on rank 0", 1),
        ("weights", "the weights are not finite after step 1", 0),
        ("end", "the weights are not finite after step 1", 0),
    ],
)
def test_what_is_not_finite_stops_the_run(failed, name, message, last_good):
    run, outcome = failed[name]
    assert outcome.code == 1
    (error,) = running.errors(outcome.stderr)
    assert message in error
    assert "--learning_rate" in error
    assert "Traceback" not in outcome.stderr
    assert running.newest_step(run) == last_good
    assert not (run / records.SUMMARY).exists()
    for path in checkpoint.list_newest_first(run / records.CHECKPOINTS):
        with np.load(path) as arrays:
            assert all(np.isfinite(arrays[key]).all() for key in arrays), path


def test_chains_that_are_stopped_in_burn_in_go_on(tmp_path):
    """There are no draws yet, and then a single one: nothing can be said of the chains, and the job is requeued."""
    run = tmp_path / "run"
    train = [
        "train", "--architecture=linear", "--method=hmc", "--hmc_leapfrog_steps=2", "--eval_every_epochs=0",
        "--threads=1", "--steps_per_call=1", f"--run={run}",
    ]  # fmt: skip
    length = ["--hmc_burn_in_steps=2", "--hmc_kept_draws=5"]
    outcomes = running.several(
        tmp_path / "outcomes",
        [*train, *length, "--steps=7", "--max_runtime_s=0.001"],
        [*train, *length, "--steps=3"],
        [*train, *length, "--steps=7"],
    )
    assert [ranks[0].code for ranks in outcomes] == [75, 0, 0], outcomes
    stopped, one, all_of_them = (ranks[0].stdout for ranks in outcomes)
    assert "no draws yet: burn-in has not ended" in stopped
    assert "too few draws for R-hat and ESS (1 after burn-in, they need 4)" in one
    assert "R-hat of the log posterior 1." in all_of_them or "R-hat of the log posterior 0." in all_of_them
    assert running.read_json(run, records.DIAGNOSTICS)["too_few_draws"] is False


CTRL_C = """
import os, signal, sys
from bnn_hvd import cli
from bnn_hvd.training.logbook import Logbook

steps = Logbook.steps

def steps_with_ctrl_c(self, progress, *rest):
    if progress.step == 5:
        os.kill(os.getpid(), signal.SIGINT)
    steps(self, progress, *rest)

Logbook.steps = steps_with_ctrl_c
sys.exit(cli.main(["bnn_hvd", *sys.argv[1:]]))
"""


def test_ctrl_c_stops_at_a_checkpoint(tmp_path):
    train = [
        "train", "--architecture=linear", "--method=point", "--threads=1", "--steps=20", "--steps_per_call=1",
        f"--run={tmp_path / 'run'}",
    ]  # fmt: skip
    job = running.python("-c", CTRL_C, *train)
    assert (job.returncode, job.stderr) == (75, "")
    stopped_at = running.newest_step(tmp_path / "run")
    assert 5 <= stopped_at < 20
    assert f"stopped early at step {stopped_at}" in job.stdout


@pytest.mark.parametrize("launched", [False, True])
def test_a_second_ctrl_c_ends_the_process(monkeypatch, launched):
    """It has the default action then, by which the system ends a process; a rank leaves that to its launcher."""
    for name in (*launcher.SIZE, *launcher.RANK):
        monkeypatch.delenv(name, raising=False)
    if launched:
        monkeypatch.setenv(launcher.SIZE[0], "2")
    before = signal.getsignal(signal.SIGINT)
    with StopRequest(0) as stop:
        assert not stop.requested()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested()
        assert (signal.getsignal(signal.SIGINT) == signal.SIG_DFL) == (not launched)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest(0) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.requested()
    finally:
        signal.signal(signal.SIGINT, before)
