"""Rows, predictions and figures are made of run directories without TensorFlow; the runs of a study."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest

from bnn_hvd import cli
from bnn_hvd import config as flags
from bnn_hvd.config import ScaleConfig, TrainConfig, make
from bnn_hvd.errors import UserError
from bnn_hvd.run import records
from bnn_hvd.studies import runs
from bnn_hvd.studies.scaling import collect, predict
from bnn_hvd.studies.scaling import jobs as scale_jobs
from bnn_hvd.studies.scaling.model import CYCLE_S, Link

WEIGHTS = 1000
LINK = Link(1e-6, 1e-9, "test")


def write_run(
    path: Path,
    ranks=1,
    step_ms=(10.0,),
    communication_ms=0.0,
    model="CNN_conv",
    batch_size=None,
    steps=101,
    config=None,
    **more,
):
    """Write the files of a training run with a global batch of 64 by default; its first step is not timed."""
    batch_size = batch_size or 64 // ranks
    path.mkdir(parents=True)
    chosen = config or {"model": model, "batch_size": batch_size}
    train = flags.resolve(**chosen, steps=steps, run=str(path))
    (path / records.CONFIG).write_text(flags.to_flagfile(train))
    wall_s = 1e-3 * (steps - 1) * max(step_ms)
    summary = {
        "status": "done", "model": model, "dataset": "digits", "num_train": 1437, "num_parameters": WEIGHTS,
        "steps": steps, "num_particles": 0, "num_weights": WEIGHTS,
        "ranks": ranks, "threads": 1, "batch_size": batch_size, "global_batch_size": ranks * batch_size,
        "train_wall_s": wall_s, "examples_per_s": (steps - 1) * ranks * batch_size / wall_s,
        "allreduce_bytes_per_step": 4 * WEIGHTS * (ranks > 1), "reduced_bytes_per_step": 4 * WEIGHTS,
        "allreduces_per_step": 1, "nodes": 1, "hosts": ["here"] * ranks,
        "step_ms_by_rank": list(step_ms), "communication_ms": communication_ms,
        "compute_ms_by_rank": [time - communication_ms for time in step_ms], **more,
    }  # fmt: skip
    (path / records.SUMMARY).write_text(json.dumps(summary))
    return path


def strong(folder: Path, model="CNN_conv", **more):
    """Write runs on one rank with a median of 10 ms a step, and one on two ranks with 6 ms.

    B examples take 1 + 9 B / 64 ms: two ranks need 5.5 ms for half the batch each, and 0.5 ms for communication.
    """
    times = enumerate((10.0, 12.0, 9.0))
    one = [write_run(folder / f"{model}1_{i}", step_ms=(time,), model=model, **more) for i, time in times]
    return [*one, write_run(folder / f"{model}2", 2, (5.9, 6.1), 0.5, model=model, **more)]


def rows_of(paths):
    return collect.rows(collect.read_all(paths))


def test_rows(tmp_path):
    one, two = rows_of(strong(tmp_path))
    assert (one.ranks, one.repeats, one.step_ms, one.step_ms_min, one.step_ms_max) == (1, 3, 10, 9, 12)
    assert (one.speed_up, one.efficiency, one.communication_share, one.allreduce_bytes_per_step) == (1, 1, 0, 0)
    assert (two.ranks, two.nodes, two.threads, two.repeats) == (2, 1, 1, 1)
    assert (two.step_ms, two.step_ms_min, two.step_ms_max) == (pytest.approx(6), 5.9, 6.1)
    assert two.train_wall_s == pytest.approx(0.61)
    assert two.speed_up == pytest.approx(10 / 6.1)  # the median of one rank
    assert two.efficiency == pytest.approx(10 / 6.1 / 2)
    assert two.communication_share == pytest.approx(0.5 / 6)
    assert two.allreduce_bytes_per_step == 4000


def test_a_prediction_counts_the_bytes_that_are_sent(tmp_path):
    """Compressed gradients have half the bytes, ivon sends two vectors; one rank says what more ranks would send."""
    sent = {"allreduce_bytes_per_step": 8 * WEIGHTS, "reduced_bytes_per_step": 8 * WEIGHTS}
    paths = [write_run(tmp_path / "1", reduced_bytes_per_step=8 * WEIGHTS), write_run(tmp_path / "2", 2, **sent)]
    one, two = rows_of(paths)
    found = [predict.step_model(rows, "strong", LINK).num_bytes for rows in ([one], [one, two])]
    assert found == [8 * WEIGHTS] * 2
    uncompressed = write_run(tmp_path / "3", 2)
    with pytest.raises(UserError, match="differ in allreduce_bytes_per_step"):
        rows_of([*paths, uncompressed])


def test_speed_up_counts_from_the_fewest_ranks(tmp_path):
    two = write_run(tmp_path / "2", 2, (8.0, 8.0), 1.0)
    four = write_run(tmp_path / "4", 4, (5.0,) * 4, 1.0)
    *_, last = rows_of([two, four])
    assert last.speed_up == pytest.approx(1.6)
    assert last.efficiency == pytest.approx(0.8)


def test_a_run_whose_last_session_timed_nothing_is_read_from_its_log(tmp_path):
    path = write_run(tmp_path / "a", 2, (9.9, 9.9), step_ms_by_rank=None, compute_ms_by_rank=None)
    calls = [("compile", 5.0, 1, 0.0), ("train", 0.3, 30, 0.03), ("train", 0.7, 70, 0.07), ("eval", 9.0, 0, 0.0)]
    keys = ("phase", "seconds", "steps", "communication_s")
    records.append_jsonl(path / records.TIMINGS, *(dict(zip(keys, call, strict=True)) for call in calls))
    (row,) = rows_of([path])
    assert (row.step_ms, row.communication_ms, row.compute_ms) == tuple(map(pytest.approx, (10, 1, 9)))


def test_unfinished_runs_are_left_out_and_said(tmp_path, capsys):
    done = write_run(tmp_path / "done")
    write_run(tmp_path / "interrupted", status="interrupted")
    (tmp_path / "begun").mkdir()
    assert [run.path for run in collect.read_all(sorted(tmp_path.iterdir()))] == [done]
    said = capsys.readouterr().out
    assert "begun" in said
    assert "interrupted" in said


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {"steps": 201}, r"they differ in length \(101 steps; 201 steps\)"),
        ({}, {"dataset": "mnist"}, "they differ in data"),
        ({}, {"ranks": 2, "batch_size": 48}, "neither the global batch"),
        ({}, {"threads": 2}, r"differ in threads \(\[1, 2\]\)"),
        ({}, {"ranks": 2, "model": "CNN_FC"}, "differ in their smallest number of ranks"),
    ],
)
def test_runs_that_can_t_be_compared(tmp_path, first, second, message):
    runs = collect.read_all([write_run(tmp_path / "a", **first), write_run(tmp_path / "b", **second)])
    with pytest.raises(UserError, match=message):
        collect.rows(runs) if collect.mode(runs) else None


@pytest.mark.parametrize(("ranks", "batch_size", "mode"), [(2, 32, "strong"), (2, 64, "weak"), (1, 64, "given")])
def test_what_scaling_it_is_shows_in_the_batches(tmp_path, ranks, batch_size, mode):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", ranks, batch_size=batch_size)]
    assert collect.mode(collect.read_all(runs), "given") == mode


def test_a_run_of_one_step_has_no_time(tmp_path):
    with pytest.raises(UserError, match="no timed step"):
        collect.read(write_run(tmp_path / "a", train_wall_s=0))


def test_strong_prediction_goes_on_from_what_was_measured(tmp_path):
    rows = rows_of(strong(tmp_path))
    predictions = predict.predict(rows, "strong", LINK)
    assert [each.ranks for each in predictions] == [2, 4, 8, 16, 32, 64]  # with more, a rank would have no example
    assert predictions[0].step_ms == pytest.approx(6.1)  # the time of the slower rank
    assert predictions[0].speed_up == pytest.approx(rows[-1].speed_up)
    fixed, per_example = 1.0, 9 / 64  # 10 ms with 64 examples, 5.5 with 32
    # Two ranks exchange 4,000 bytes once, for 1 + 4 µs; 64 exchange 2 * 63/64 * 4,000 in 12 messages. Before it, two
    # exchanges of 1 or 6 messages in a cycle of 0.5 ms.
    rest_ms = 0.6 - 1e-3 * (5 + 500 + 2)
    last_ms = fixed + per_example + rest_ms + 1e-3 * (12 + 7.875 + 500 + 12)
    assert predictions[-1].step_ms == pytest.approx(last_ms)
    assert predictions[-1].speed_up == pytest.approx(10 / last_ms)


def test_weak_prediction_to_1024_nodes(tmp_path):
    two = write_run(tmp_path / "2", 2, (11.0, 11.0), 0.6, batch_size=64)
    predictions = predict.predict(rows_of([write_run(tmp_path / "1", batch_size=64), two]), "weak", LINK)
    assert predictions[-1].nodes == predictions[-1].ranks == 1024
    assert {each.batch_size for each in predictions} == {64}
    assert predictions[-1].step_ms == pytest.approx(10.4 + 0.6 + 1e-3 * (19 + 4 + 18), abs=1e-4)  # latencies, bytes
    assert predictions[-1].efficiency == pytest.approx(10 / predictions[-1].step_ms)


def test_without_a_network_and_waiting_weak_scaling_is_ideal(tmp_path):
    rows = rows_of([write_run(tmp_path / "1", batch_size=64)])
    efficiency = predict.predict(rows, "weak", Link(0, 0, ""))[-1].efficiency
    assert efficiency == pytest.approx(10 / (10 + 1e3 * CYCLE_S))  # the ranks still have to agree what to reduce


def test_ranks_share_an_evaluation(tmp_path):
    """1 s that every rank takes, and 8 s that they share; of one number of ranks, all is shared."""
    paths = [write_run(tmp_path / f"{ranks}", ranks) for ranks in (1, 2, 4)]
    for path, seconds in zip(paths, (9.0, 5.0, 3.0), strict=True):
        rows = [{"phase": "eval", "seconds": 100.0, "step": 1}, {"phase": "eval", "seconds": seconds, "step": 2}]
        records.append_jsonl(path / records.TIMINGS, *rows)
    found = predict.predict(rows_of(paths), "strong", LINK)
    assert [each.eval_s for each in found[:3]] == pytest.approx([3.0, 2.0, 1.5])
    alone = predict.predict(rows_of(paths[:1]), "strong", LINK)
    assert [each.eval_s for each in alone[:3]] == pytest.approx([9.0, 4.5, 2.25])
    without = predict.predict(rows_of([write_run(tmp_path / "none")]), "strong", LINK)
    assert {each.eval_s for each in without} == {None}


def test_every_all_reduce_of_a_step_waits_for_its_own_messages(tmp_path):
    """A trajectory of hmc has an all-reduce per leapfrog step: ten of 400 bytes, where one of 4,000 costs less."""
    runs = [write_run(tmp_path / "1", allreduces_per_step=10)]
    two = predict.predict(rows_of(runs), "strong", LINK)[1]
    assert two.communication_ms == pytest.approx(10 * (0.5 + 1e-3 * (2 + 1 + 0.4)))


def test_nodes_keep_their_ranks_in_the_prediction(tmp_path):
    runs = [write_run(tmp_path / f"{n}", 4 * n, (9.0,) * 4 * n, 1.0, nodes=n, batch_size=8) for n in (1, 2)]
    predictions = predict.predict(rows_of(runs), "weak", LINK)
    assert (predictions[0].nodes, predictions[0].ranks) == (2, 8)
    assert (predictions[-1].nodes, predictions[-1].ranks) == (1024, 4096)


def scale(*words) -> int:
    return cli.main(["bnn_hvd", "scale", *map(str, words)])


@pytest.mark.parametrize("format", ["png", "svg"])
def test_collecting_writes_tables_and_figures(tmp_path, capsys, format):
    for model in ("BNN_conv_flip", "CNN_conv"):
        strong(tmp_path / "runs", model)
    folder = tmp_path / "study"
    assert scale(f"--runs={tmp_path}/runs/*", f"--run={folder}", "--interconnect=ARIES", f"--format={format}") == 0
    rows = json.loads((folder / "scaling.json").read_text())
    assert [(row["model"], row["ranks"]) for row in rows] == [
        ("BNN_conv_flip", 1), ("BNN_conv_flip", 2), ("CNN_conv", 1), ("CNN_conv", 2)
    ]  # fmt: skip
    with (folder / "scaling.csv").open() as file:
        as_read = list(csv.DictReader(file))
    assert [list(row) for row in as_read] == [[f.name for f in dataclasses.fields(collect.Row)]] * 4
    assert [float(row["speed_up"]) for row in as_read] == [row["speed_up"] for row in rows]
    with (folder / "prediction.csv").open() as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"BNN_conv_flip", "CNN_conv"}
    for name in ("training_time", "speed_up"):
        assert (folder / f"{name}.{format}").stat().st_size > 10_000
    assert "strong scaling, digits, 1,437 examples, 101 steps; predicted for latency 1.3 µs" in capsys.readouterr().out


def test_without_an_interconnect_nothing_is_predicted(tmp_path, capsys):
    strong(tmp_path / "runs")
    assert scale(f"--runs={tmp_path}/runs/*", f"--run={tmp_path}/study") == 0
    assert not (tmp_path / "study" / "prediction.csv").exists()
    assert "--interconnect" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--run is required"),
        (["--run=x", "--models=BNN_conv"], "unknown model in --models: 'BNN_conv'; known: BNN_FC_flip"),
        (["--run=x", "--ranks=1,two"], "--ranks=1,two must be numbers"),
        (["--run=x", "--ranks=0"], "--ranks=0 must be numbers"),
        (["--run=x", "--ranks=1,3", "--batch_size=64"], "--batch_size=64 can't be divided among 3 ranks"),
        (["--run=x", "--runs=nothing/*"], "no finished run to collect"),
        (["--run=x", "--alpha_us=1"], "--beta_gb_per_s"),
        (["--run=x", "--interconnect=hdr", "--beta_gb_per_s=3"], "give one of the three"),
        (["--run=x", "--interconnect=token_ring"], "known: aries"),
        (["--run=x", "--allreduce=missing.json"], "python -m benchmarks allreduce"),
        (["--run=x", "--method=vi"], "--method=vi contradicts --model=CNN_conv"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capfd, flags, message):
    monkeypatch.chdir(tmp_path)
    assert scale(*flags) == 2
    assert message in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def jobs(**flags) -> list[runs.Job]:
    return scale_jobs.jobs(make(ScaleConfig, **{"run": "s", "threads": 1, "repeats": 2, **flags}))


def test_runs_are_taken_in_turns():
    assert [job.name for job in jobs(models="cnn_fc,CNN_conv")] == [
        f"{model}_{ranks}ranks_{repeat}" for repeat in (0, 1) for ranks in (1, 2) for model in ("CNN_FC", "CNN_conv")
    ]


@pytest.mark.parametrize(("mode", "batches"), [("strong", {1: 64, 2: 32}), ("weak", {1: 64, 2: 64})])
def test_the_learning_rate_goes_with_the_global_batch(mode, batches):
    """`--lr_scaling`, which counts ranks, is not used where the global batch does not grow with them."""
    made = jobs(mode=mode, batch_size=64, lr_scaling="linear")
    assert {job.ranks: job.config.data.batch_size for job in made} == batches
    assert {job.config.schedule.lr_scaling for job in made} == {"none" if mode == "strong" else "linear"}


def test_flags_of_train_reach_the_runs():
    job = jobs(models="CNN_FC", ranks="2", epochs=3, learning_rate=0.01, horovod_timeline=True)[0]
    text = flags.to_flagfile(job.config)
    again = cli.parse(TrainConfig, text.split())
    assert again == job.config
    assert (again.run.epochs, again.schedule.learning_rate, again.network.model) == (3, 0.01, "CNN_FC")
    assert again.machine.horovod_timeline
    assert again.run.folder == "s/runs/CNN_FC_2ranks_0"


def test_dry_run_prints_the_commands(tmp_path, capsys):
    assert scale(f"--run={tmp_path}/s", "--models=CNN_FC", "--repeats=1", "--dry_run") == 0
    one, two = capsys.readouterr().out.splitlines()
    assert one.endswith(f"-m bnn_hvd train --flagfile={tmp_path}/s/runs/CNN_FC_1ranks_0.cfg")
    assert "horovodrun -np 2 -- " in two
    assert not (tmp_path / "s").exists()


def test_a_finished_run_is_known_and_one_of_another_study_refused(tmp_path):
    (job,) = jobs(run=str(tmp_path), models="CNN_FC", ranks="1", repeats=1, steps=5)
    assert not runs.finished(job)
    write_run(job.config.folder, model="CNN_FC", steps=5)
    (job.config.folder / records.CONFIG).write_text(flags.to_flagfile(job.config))
    assert runs.finished(job)
    with pytest.raises(UserError, match="--steps: 5 there, 6 here"):
        runs.finished(job._replace(config=job.config.replace(steps=6)))


def test_a_busy_machine_is_warned_of():
    assert "load 3.0, 2 cores" in runs.load_warning(3.0, 2)
    assert runs.load_warning(0.4, 2) == ""


def test_a_failed_run_says_why(tmp_path):
    (job,) = jobs(run=str(tmp_path), models="CNN_FC", ranks="1", repeats=1)
    log = runs.beside(job, ".log")
    log.parent.mkdir()
    log.write_text("[1,0]<stderr>:bnn_hvd: error: no data\nmpirun ended\n")
    assert runs.failure(job).startswith("CNN_FC_1ranks_0 failed: no data (")
    log.write_text("ValueError: a\nException: no MPI\n1. Install one\n")
    assert runs.failure(job).startswith("CNN_FC_1ranks_0 failed: Exception: no MPI (")
    log.write_text("Bus error\n")
    assert runs.failure(job).startswith("CNN_FC_1ranks_0 failed: Bus error (")
