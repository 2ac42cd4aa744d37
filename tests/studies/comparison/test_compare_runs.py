"""A comparison on the digits, from the command to the table: it is killed, and goes on."""

import json

import numpy as np
import psutil
import pytest
import running

from bnn_hvd.run import records

LENGTH = ("--epochs=4", "--batch_size=64", "--hidden=16", "--num_blocks=1", "--learning_rate=0.01")
SLOW = ("--steps_per_call=1", "--checkpoint_every_steps=5", "--keep=100", "--threads=1")
COMPARE = (
    "compare", *LENGTH, *SLOW, "--networks=mlp", "--methods=point,swag", "--num_draws=20", "--coverage=0.9",
    "--calibrate=temperature", "--corrupt=noise:2",
)  # fmt: skip
# Scores whose place in uncertainty.json is in parts that `predict` writes for these flags.
PLACES = {
    "adaptive_ece",
    "conformal.thr.coverage",
    "conformal.raps.mean_size",
    "calibrated.after.nll",
    "corrupted.nll",
} | {f"selective.max_prob.{name}" for name in ("aurc", "coverage_at_risk")}


def write_table(folder):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    y = 1000 + 100 * (x[:, 0] + 0.1 * rng.normal(size=300))
    np.savez(folder / "table.npz", x=x, y=y, test_index_0=np.arange(30), test_index_1=np.arange(100, 160))
    return folder / "table.npz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Kill a comparison in its second run, go on with it, and train that run alone; returns the folder of all."""
    folder = tmp_path_factory.mktemp("compare")
    study = folder / "study"
    words = [*COMPARE, "--seeds=0,1", f"--run={study}"]
    job = running.start(*running.CLI, *words, log=folder / "killed.log")
    second = study / "runs" / "mlp_swag_seed0"
    running.wait_until(lambda: running.newest_step(second) >= 10, job)
    everyone = running.processes(job)
    job.kill()  # the others must not go on without it
    alive = psutil.wait_procs(everyone, timeout=10)[1]
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
    assert not (second / records.SUMMARY).exists()
    assert not (study / records.COMPARE).exists()
    commands = [
        [*words, "--max_runtime_s=0.001"],
        words,
        words,
        ["train", *LENGTH, "--architecture=mlp", "--method=swag", "--threads=1", f"--run={folder / 'alone'}"],
        [*words, "--methods=point,swag,ivon", "--part=3/3", "--dry_run"],
        [
            "predict", f"--run={second}", "--num_draws=4", f"--out={folder / 'compared'}", "--threads=1",
            f"--reference={study / 'runs' / 'mlp_point_seed0' / records.PREDICTED_ROWS}",
        ],
        [
            "compare", *LENGTH, "--networks=mlp", "--method=point", "--datasets=uci", "--splits=all", "--threads=1",
            "--epochs=40",
            f"--data_dir={write_table(folder)}", f"--run={folder / 'splits'}",
        ],
    ]  # fmt: skip
    outcomes = running.several(folder / "job", *commands)
    (folder / "outcomes.json").write_text(json.dumps([ranks[0] for ranks in outcomes]))
    return folder


def outcomes(folder):
    return [running.Outcome(*values) for values in json.loads((folder / "outcomes.json").read_text())]


def test_a_stopped_comparison_says_so_and_goes_on(folder):
    stopped, done, again, *others = outcomes(folder)
    assert [job.code for job in (stopped, done, again, *others)] == [75, 0, 0, 0, 0, 0, 0], (stopped, done, others)
    assert stopped.stdout.splitlines()[-1] == "stopped early; the same command goes on from there"
    assert "1 of 4 runs are finished already" in done.stdout
    assert [line.split("]")[0] for line in done.stdout.splitlines() if line.startswith("[")] == ["[1/3", "[2/3", "[3/3"]
    assert "4 of 4 runs are finished already" in again.stdout
    assert "[1/" not in again.stdout


def test_the_killed_run_has_the_weights_of_one_that_was_trained_alone(folder):
    alone, killed = running.read_json(folder / "alone"), running.read_json(folder / "study/runs/mlp_swag_seed0")
    assert alone["weights_sha256"] == killed["weights_sha256"]
    assert len(running.read_json(folder / "study/runs/mlp_swag_seed0", records.PROVENANCE)) > 1  # sessions


def test_the_rows_are_means_over_the_seeds_of_what_predict_wrote(folder):
    study = folder / "study"
    rows = {row["method"]: row for row in json.loads((study / records.COMPARE).read_text())}
    for method, row in rows.items():
        reports = [running.read_json(study / "runs" / f"mlp_{method}_seed{k}", records.UNCERTAINTY) for k in (0, 1)]
        assert [report["num_draws"] for report in reports] == [20 if method == "swag" else 1] * 2
        assert set(row["scores"]) > PLACES
        for score in ("accuracy", "nll", "ece"):
            each = [report[score] for report in reports]
            assert row["scores"][score]["each"] == each
            assert row["scores"][score]["mean"] == pytest.approx(np.mean(each))
            assert row["scores"][score]["standard_error"] == pytest.approx(abs(each[0] - each[1]) / 2)
    assert rows["point"]["relative_cost"] == {"train_s": 1, "step_ms": 1, "prediction_ms": 1}
    assert min(rows["swag"]["relative_cost"].values()) > 0


def test_the_tables_and_figures_are_written(folder):
    text = (folder / "study" / records.COMPARE_TEXT).read_text()
    assert text.count("\n| swag | 2 |") == 1
    assert text in outcomes(folder)[1].stdout
    for name in ("scores_digits.png", "cost_digits.png"):
        assert (folder / "study" / name).stat().st_size > 10_000


def test_a_dry_run_prints_the_commands_of_a_part(folder):
    lines = outcomes(folder)[4].stdout.splitlines()
    assert [line.split("--run=")[1].split()[0].rpartition("/")[2] for line in lines] == [
        "mlp_ivon_seed0", "mlp_ivon_seed1",
    ]  # fmt: skip


def test_each_split_of_a_table_is_trained_and_tested(folder):
    (row,) = json.loads((folder / "splits" / records.COMPARE).read_text())
    assert row["runs"] == ["uci_mlp_split0", "uci_mlp_split1"]
    found = [np.load(folder / "splits/runs" / run / records.PREDICTIVE) for run in row["runs"]]
    assert [one["row_N"].tolist() for one in found] == [[*range(30)], [*range(100, 160)]]
    rmse = [np.sqrt(np.mean((one["mean_N"] - one["y_N"]) ** 2)) for one in found]
    assert row["scores"]["rmse"]["each"] == pytest.approx(rmse)
    assert max(rmse) < 60  # learnt: the standard deviation of y is 100
    assert {"nll", "crps", "coverage_90", "coverage_95"} < set(row["scores"])


def test_a_run_is_compared_with_the_probabilities_in_the_file_of_another(folder):
    runs = folder / "compared", folder / "study/runs/mlp_point_seed0"
    ours, theirs = (np.load(run / records.PREDICTIVE)["probs_NC"].astype(float) for run in runs)
    found = running.read_json(folder / "compared", records.UNCERTAINTY)["reference"]
    assert found["agreement"] == np.mean(ours.argmax(1) == theirs.argmax(1)) < 1
    assert found["total_variation"] == pytest.approx(np.abs(ours - theirs).sum(1).mean() / 2, rel=1e-5)


@running.needs_horovodrun
@pytest.mark.parallel
def test_two_ranks_train_each_run_together_and_a_failed_one_does_not_stop_the_others(tmp_path):
    """The ensemble needs groups of ranks, which must be there before the first run; the loss of `bad` is not finite."""
    (tmp_path / "bad.cfg").write_text("--method=point\n--learning_rate=1e30\n--optimizer=sgd\n")
    (tmp_path / "ensemble.cfg").write_text("--num_particles=2\n")
    words = [*COMPARE, "--steps=6", "--seeds=0", f"--settings={tmp_path}", f"--run={tmp_path / 'study'}"]
    words = [word for word in words if word not in ("--epochs=4", "--learning_rate=0.01")]
    (job,) = running.several(tmp_path / "job", [*words, "--methods=point,bad,ensemble,laplace"], ranks=2)
    assert [rank.code for rank in job] == [1, 1], job
    assert "1 of 4 runs failed; the first: mlp_bad_seed0" in job[0].stderr
    rows = {row["method"]: row for row in json.loads((tmp_path / "study" / records.COMPARE).read_text())}
    assert list(rows) == ["point", "ensemble", "laplace"]
    assert all(running.read_json(tmp_path / "study/runs" / row["runs"][0])["ranks"] == 2 for row in rows.values())
    assert "mlp_bad_seed0" in (tmp_path / "study" / records.COMPARE_TEXT).read_text()
