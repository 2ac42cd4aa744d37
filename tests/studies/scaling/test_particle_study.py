"""`scale --particles`: its runs, the rows that it makes of them, and a whole study on one rank and two."""

import json

import pytest
import running
from test_study import write_run

from bnn_hvd.config import ScaleConfig, make
from bnn_hvd.errors import UserError
from bnn_hvd.studies.scaling import collect, particles, predict_particles
from bnn_hvd.studies.scaling.model import Link


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


LINK = Link(1e-6, 1e-9, "test")


def test_particles_first_fill_the_ranks_and_then_share_them(tmp_path):
    """4 particles of 3 ms each and 1 ms in all: from 8 ranks on, 2 and more ranks share the steps of each."""
    times = {2: (7.0, 2), 4: (13.0, 4)}
    runs = [run(tmp_path, f"{count}", 1, count, step_ms) for count, (step_ms, _) in times.items()]
    found = predict_particles.predict(collect.read_all(runs), LINK)
    four = {one.ranks: one for one in found if one.particles == 4}
    assert list(four) == [1, 2, 4, 8, 16, 32, 64]  # with more, a rank would have no whole batch of 1,437 examples
    assert [four[ranks].compute_ms for ranks in four] == pytest.approx([13, 7, 4, 4, 4, 4, 4])
    two_share = 0.5 + 1e-3 * (2 + 1 + 4)  # a cycle and two exchanges; then 1 µs and 4,000 bytes
    assert [four[ranks].communication_ms for ranks in (1, 4, 8)] == pytest.approx([0, 0, two_share])
    assert four[4].epoch_s == pytest.approx(1437 // 64 * 0.004)
    assert four[8].epoch_s == pytest.approx(1437 // 128 * (0.004 + 1e-3 * two_share))
    assert four[2].efficiency == pytest.approx(13 / (2 * 7))


def test_all_ranks_share_all_chains(tmp_path):
    """A trajectory of 5 gradients, whose all-reduces have 1,000 bytes each."""
    sizes = {"reduced_bytes_per_step": 5000, "allreduces_per_step": 5}
    path = run(tmp_path, "a", 1, 2, 80.0, config={"model": "", "architecture": "linear", "method": "hmc"}, **sizes)
    found = {one.ranks: one for one in predict_particles.predict(collect.read_all([path]), LINK)}
    assert list(found)[-1] == 1024
    assert found[4].compute_ms == pytest.approx(20)
    assert found[4].communication_ms == pytest.approx(5 * (0.5 + 1e-3 * (4 + min(2 + 2, 4 + 1.5))))
    assert found[4].epoch_s == pytest.approx(1e-3 * found[4].step_ms)


def test_with_a_link_the_report_has_the_prediction(tmp_path, capsys):
    runs = collect.read_all([run(tmp_path, "a", 1, 2, 10.0)])
    particles.report(tmp_path / "study", runs, "png", LINK)
    assert (tmp_path / "study" / "prediction.csv").read_text().startswith("model,particles,ranks,")


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
