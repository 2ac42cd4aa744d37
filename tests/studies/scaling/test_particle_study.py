"""`scale --particles`: its runs, the rows that it makes of them, and a whole study on one rank and two."""

import json

import pytest
import running
from test_study import write_run

from bnn_hvd.config import ScaleConfig, make
from bnn_hvd.errors import UserError
from bnn_hvd.studies.scaling import collect, particles


def jobs(**flags):
    given = {"run": "s", "particles": "2,4", "ranks": "1,2", "repeats": 1, "threads": 1, "method": "ensemble"}
    return particles.jobs(make(ScaleConfig, **given | flags))


def test_every_number_of_particles_on_every_number_of_ranks():
    found = jobs(architecture="mlp", dataset="sine", batch_size=48, repeats=2)
    expected = [(1, 2), (1, 4), (2, 2), (2, 4)]
    assert [(job.ranks, job.config.method.num_particles) for job in found] == expected * 2
    assert {(job.config.network.architecture, job.config.method.name, job.config.data.batch_size) for job in found} == {
        ("mlp", "ensemble", 48)
    }
    assert len({job.name for job in found}) == 8


def test_particles_that_ranks_cannot_share_are_refused_before_anything_is_trained():
    with pytest.raises(UserError, match="3 particles to train on 2 ranks"):
        jobs(particles="2,3")
    assert len(jobs(particles="2,3", allow_uneven=True)) == 4
    with pytest.raises(UserError, match="--particles=2,x must be numbers"):
        jobs(particles="2,x")


def run(folder, name, ranks, count, step_ms, **more):
    """Write a run of 101 steps of 64 examples."""
    return write_run(folder / name, ranks, (step_ms,), batch_size=64 // ranks, num_particles=count, **more)


def test_an_epoch_is_as_many_steps_as_the_data_have_batches(tmp_path):
    """Each particle sees 64 examples a step, so an epoch has 1437 / 64 steps."""
    times = {"a": (1, 2, 10.0), "b": (1, 2, 14.0), "c": (1, 2, 11.0), "d": (1, 8, 25.0)}
    paths = [run(tmp_path, name, *case) for name, case in times.items()]
    two, eight = particles.rows(collect.read_all(paths))
    steps = 1437 / 64
    assert (two.particles, two.repeats, eight.particles, eight.repeats) == (2, 3, 8, 1)
    assert [two.epoch_s, two.epoch_s_min, two.epoch_s_max] == pytest.approx([steps * t / 1e3 for t in (11, 10, 14)])
    assert eight.epoch_s == pytest.approx(steps * 0.025)
    assert f"{25 / 11:.2f}" in particles.table([two, eight])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"num_weights": 5}, "they differ in num_weights"),
        ({"num_train": 7}, "they differ in data"),
        ({"num_particles": 0}, "no particles"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(tmp_path, more, said):
    paths = [run(tmp_path, "a", 1, 2, 10.0), write_run(tmp_path / "b", **{"num_particles": 4} | more)]
    with pytest.raises(UserError, match=said):
        particles.rows(collect.read_all(paths))


@pytest.mark.parallel
@running.needs_horovodrun
def test_a_whole_study(tmp_path):
    """A study is trained, collected and plotted; test_end_to_end.py shows that it can be resumed."""
    study = (
        "scale", "--particles=2,4", "--ranks=1,2", "--repeats=1", "--architecture=mlp", "--hidden=8",
        "--method=ensemble", "--dataset=sine", "--steps=20", "--threads=1", "--steps_per_call=10", "--eval_draws=2",
        f"--run={tmp_path}",
    )  # fmt: skip
    job = running.bnn_hvd(*study)
    assert job.returncode == 0, job.stdout + job.stderr
    rows = json.loads((tmp_path / "particles.json").read_text())
    assert [(row["ranks"], row["particles"]) for row in rows] == [(1, 2), (1, 4), (2, 2), (2, 4)]
    assert all(0 < row["epoch_s_min"] <= row["epoch_s"] <= row["epoch_s_max"] for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == {"particles.json", "particles.csv", "particles.png", "runs"}
