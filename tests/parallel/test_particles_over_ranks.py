"""Particles over ranks are the same on any number of ranks, can be resumed, and more can be added."""

from pathlib import Path

import numpy as np
import pytest
import running

from bnn_hvd.run import records

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]
TRAIN = (
    "train", "--architecture=fc", "--method=ensemble", "--batch_size=32", "--threads=1", "--eval_every_epochs=0",
)  # fmt: skip
# The gradients are the same bit for bit, but Adam's kernel rounds the last few elements of an array differently.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def flags(folder: Path, name: str, particles: int, steps: int) -> list[str]:
    return [*TRAIN, f"--run={folder / name}", f"--num_particles={particles}", f"--steps={steps}"]


def params(run: Path) -> np.ndarray:
    """Return the particles [M, P] of the newest checkpoint."""
    return running.stored(run)["params:0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Run commands on one rank, on two and on four."""
    folder = tmp_path_factory.mktemp("particles")
    jobs = {
        1: [
            flags(folder, "one", 4, 40), [*flags(folder, "own_one", 2, 40), "--member_batches=own"],
            flags(folder, "added", 2, 40), flags(folder, "added", 4, 40),
            [*flags(folder, "svgd_one", 4, 40), "--method=svgd"],
        ],
        2: [
            flags(folder, "two", 4, 40), flags(folder, "parted", 4, 15), flags(folder, "parted", 4, 40),
            flags(folder, "single", 1, 20), flags(folder, "grown", 2, 40), flags(folder, "grown", 4, 40),
            [*flags(folder, "own_two", 2, 20), "--member_batches=own"],
            [*flags(folder, "own_two", 2, 40), "--member_batches=own"],
            ["predict", f"--run={folder / 'two'}", "--threads=1"], [*flags(folder, "svgd_two", 4, 40), "--method=svgd"],
        ],
        4: [flags(folder, "groups", 2, 12), flags(folder, "groups", 2, 20)],
    }  # fmt: skip
    for ranks, commands in jobs.items():
        running.all_succeed(folder / f"outcomes{ranks}", *commands, ranks=ranks)
    return folder


def test_a_particle_does_not_depend_on_the_number_of_ranks(folder):
    np.testing.assert_allclose(params(folder / "two"), params(folder / "one"), **CLOSE)


def test_with_batches_of_their_own_neither(folder):
    """Member 0 has the batches of a single network, which it shares with the others otherwise."""
    own = params(folder / "own_two")  # was stopped in between
    np.testing.assert_allclose(own, params(folder / "own_one"), **CLOSE)
    np.testing.assert_allclose(own[0], params(folder / "one")[0], **CLOSE)
    assert np.abs(own[1] - params(folder / "one")[1]).max() > 0.01


def test_histograms_of_the_weights_are_of_all_particles_from_the_start(folder):
    for name in ("one", "two"):
        first, *_, last = sorted((folder / name / records.POSTERIOR).glob("*.npz"))
        with np.load(first) as start, np.load(last) as end:
            counts = {key: start[key].sum() for key in start if key.endswith("_counts")}
            assert counts == {key: end[key].sum() for key in end if key.endswith("_counts")}


def test_particles_that_move_together_reach_each_other_over_the_ranks(folder):
    np.testing.assert_allclose(params(folder / "svgd_two"), params(folder / "svgd_one"), **CLOSE)
    apart = np.abs(params(folder / "svgd_two") - params(folder / "two")).max()
    assert apart > 1e-2  # the particles of `two`, an ensemble, do not move together


def test_particles_resume_bit_for_bit(folder):
    np.testing.assert_array_equal(params(folder / "parted"), params(folder / "two"))


def test_particles_that_are_added_are_what_they_would_have_been(folder):
    np.testing.assert_allclose(params(folder / "added"), params(folder / "one"), **CLOSE)
    np.testing.assert_allclose(params(folder / "grown"), params(folder / "two"), **CLOSE)
    rows = records.read_jsonl(folder / "grown" / records.METRICS)
    assert {row["first_member"] for row in rows} == {0, 2}  # the rows of the first two particles are kept


def test_a_particle_of_several_ranks_is_trained_data_parallel(folder):
    """Ranks 0 and 1 of four, a group, train a particle as two ranks do that train nothing else."""
    groups = params(folder / "groups")
    assert len(groups) == 2
    np.testing.assert_array_equal(groups[:1], params(folder / "single"))
    assert not np.allclose(groups[0], groups[1], atol=1e-2)


def test_the_prediction_is_the_mean_of_all_particles(folder):
    assert records.read_json(folder / "two" / records.UNCERTAINTY)["num_draws"] == 4
    with np.load(folder / "two" / records.PREDICTIVE) as found:
        np.testing.assert_allclose(found["draws_SKC"].mean(0), found["probs_NC"][found["example_index_K"]], atol=1e-5)


def test_numbers_that_do_not_divide_are_a_users_mistake(tmp_path):
    job = running.bnn_hvd(*flags(tmp_path, "odd", 3, 5), ranks=2)
    assert job.returncode != 0
    assert "2 or 4 particles" in job.stderr + job.stdout
    assert not (tmp_path / "odd").exists()
