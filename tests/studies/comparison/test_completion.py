"""Which runs are made, and what follows from a run that fails or is stopped. Nothing is trained."""

import json

import pytest

from bnn_hvd import config
from bnn_hvd.config import CompareConfig
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import TrainingError
from bnn_hvd.run import records, rundir
from bnn_hvd.studies.comparison import completion, rows


@pytest.fixture
def runs(tmp_path):
    flags = {"methods": "point,vi,laplace", "networks": "mlp", "seeds": "0", "run": str(tmp_path)}
    return rows.runs(config.make(CompareConfig, **flags))


def made_by(monkeypatch, make):
    """Let `make` take the place of training; returns the names of the runs that it is called for."""
    called: list[str] = []

    def note(run, ranks, is_trained, deadline):
        called.append(run.name)
        return make(run)

    monkeypatch.setattr(completion, "make", note)
    return called


def some(runs, failed=()):
    return completion.make_some(runs, range(10), Solo(), set(), None, dict(failed))


def test_a_run_that_fails_takes_along_what_begins_with_it_and_nothing_else(runs, monkeypatch, capsys):
    def make(run):
        if run.entry.method == "point":
            raise TrainingError("the loss is not finite")
        return True

    called = made_by(monkeypatch, make)
    failed = some(runs)
    assert failed == {
        "mlp_point_seed0": "the loss is not finite",
        "mlp_laplace_seed0": "it begins with mlp_point_seed0, which failed",
    }
    assert called == ["mlp_point_seed0", "mlp_vi_seed0"]
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        "[1/3] mlp_point_seed0 failed", "[2/3] mlp_vi_seed0", "[3/3] mlp_laplace_seed0 failed"
    ]  # fmt: skip
    assert set(some(runs[2:], failed)) == set(failed)  # of an earlier fork


def test_a_stopped_run_ends_all(runs, monkeypatch):
    called = made_by(monkeypatch, lambda run: run.entry.method != "vi")
    assert some(runs) is None
    assert called == ["mlp_point_seed0", "mlp_vi_seed0"]


def test_a_run_is_predicted_again_after_more_training_or_with_other_flags(runs, monkeypatch):
    run = runs[0]
    run.folder.mkdir(parents=True)
    (run.folder / records.SUMMARY).write_text(json.dumps({"status": "done", "weights_sha256": "a"}))
    rundir.describe(run.job.config, {})
    assert completion.state(runs, Solo()) == ({run.name}, set())
    records.write_json(run.folder / records.COMPARED, {"flags": run.predict, "weights": "a", "prediction_ms": 1.0})
    assert completion.state(runs, Solo()) == ({run.name}, {run.name})
    other = run._replace(predict=run.predict | {"num_draws": 7})
    assert completion.state([other], Solo()) == ({run.name}, set())
    (run.folder / records.SUMMARY).write_text(json.dumps({"status": "done", "weights_sha256": "b"}))
    assert completion.state([run], Solo()) == ({run.name}, set())
