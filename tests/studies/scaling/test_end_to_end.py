"""A whole study: two models on one rank and on two, interrupted, resumed, and collected again."""

import json
import shutil

import pytest
import running

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]
MODELS = ("BNN_FC_flip", "CNN_FC")
STUDY = (
    "scale", f"--models={','.join(MODELS)}", "--ranks=1,2", "--repeats=1", "--batch_size=64", "--steps=30",
    "--threads=1", "--steps_per_call=10", "--eval_draws=2", "--horovod_timeline", "--interconnect=aries",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Run a study, delete one run, and start the study again."""
    folder = tmp_path_factory.mktemp("study")
    first = running.bnn_hvd(*STUDY, f"--run={folder}")
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count("[") == 4
    shutil.rmtree(folder / "runs" / "CNN_FC_2ranks_0")
    (folder / "scaling.json").unlink()
    again = running.bnn_hvd(*STUDY, f"--run={folder}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "3 of 4 runs are finished already\n[1/1] CNN_FC_2ranks_0" in again.stdout
    return folder


def test_a_row_for_each_model_and_number_of_ranks(folder):
    rows = {(row["model"], row["ranks"]): row for row in running.read_json(folder, "scaling.json")}
    assert set(rows) == {(model, ranks) for model in MODELS for ranks in (1, 2)}
    for (_, ranks), row in rows.items():
        assert (row["nodes"], row["threads"], row["repeats"], row["global_batch_size"]) == (1, 1, 1, 64)
        assert row["batch_size"] == 64 // ranks
        step_ms = 1e3 * row["train_wall_s"] / 29  # of rank 0; the first of the 30 steps is not timed
        assert 0 < row["step_ms_min"] <= step_ms * 1.0001
        assert step_ms * 0.9999 <= row["step_ms_max"]
        assert row["examples_per_s"] == pytest.approx(64e3 / step_ms)
        assert (row["communication_ms"] > 0) == (row["allreduce_bytes_per_step"] > 0) == (ranks == 2)
        assert row["compute_ms"] + row["communication_ms"] == pytest.approx(row["step_ms"])
    assert rows["BNN_FC_flip", 2]["allreduce_bytes_per_step"] > 1.5 * rows["CNN_FC", 2]["allreduce_bytes_per_step"]


def test_figures_prediction_and_timeline(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"scaling.json", "scaling.csv", "prediction.csv", "training_time.png", "speed_up.png", "runs"}
    assert (folder / "runs" / "CNN_FC_2ranks_0" / "timeline.json").exists()


def test_times_of_every_rank_are_in_the_summary(folder):
    summary = running.read_json(folder / "runs" / "BNN_FC_flip_2ranks_0")
    steps, work = summary["step_ms_by_rank"], summary["compute_ms_by_rank"]
    assert len(steps) == len(work) == len(summary["hosts"]) == 2
    waiting = [step - own for step, own in zip(steps, work, strict=True)]
    assert min(waiting) > 0
    assert summary["communication_ms"] == pytest.approx(sum(waiting) / 2)
    assert summary["nodes"] == 1


def test_the_same_runs_collected_say_the_same(folder, tmp_path):
    job = running.bnn_hvd("scale", f"--runs={folder}/runs/*ranks_0", f"--run={tmp_path}/again")
    assert job.returncode == 0, job.stderr
    assert json.loads((tmp_path / "again" / "scaling.json").read_text()) == running.read_json(folder, "scaling.json")
