"""Recommendation, from the command to the figure: users over ranks, an interrupted run, known factors.

Legend: M chains, T trajectories, K chosen users, U users, I items.
"""

from pathlib import Path

import numpy as np
import pytest
import running

from bnn_hvd.data import sources
from bnn_hvd.run import records

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]
USERS, ITEMS, FACTORS, STEPS, BURN_IN = 61, 40, 3, 14, 4
SIZE = {"num_users": USERS, "num_items": ITEMS, "num_factors": FACTORS}
LARGE = {"num_users": 700, "num_items": 600, "num_factors": 2}
WITHIN = 1.02  # times the negative log likelihood of held-out ratings under the true factors


def size(numbers: dict[str, int]) -> list[str]:
    return [f"--{name}={value}" for name, value in numbers.items()]


def flags(run: Path, steps: int = STEPS, *more: str) -> list[str]:
    return [
        "train", "--dataset=synthetic_ratings", *size(SIZE), "--num_chains=2", "--hmc_leapfrog_steps=6",
        "--hmc_step_size=0.05", f"--hmc_burn_in_steps={BURN_IN}", f"--hmc_kept_draws={STEPS - BURN_IN}", "--threads=1",
        "--eval_every_epochs=7", "--eval_draws=4", f"--run={run}", f"--steps={steps}", *more,
    ]  # fmt: skip


def predict(run: Path, *more: str) -> list[str]:
    return ["predict", f"--run={run}", "--num_draws=20", "--threads=1", *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Run the same commands on one rank and on two."""
    folder = tmp_path_factory.mktemp("ratings")
    large = [
        "train", "--dataset=synthetic_ratings", *size(LARGE), "--hmc_leapfrog_steps=15", "--hmc_step_size=0.002",
        "--hmc_burn_in_steps=30", "--steps=70", "--eval_every_epochs=0", f"--run={folder / 'large'}", "--threads=1",
    ]  # fmt: skip
    jobs = {
        1: [flags(folder / "one"), flags(folder / "moved", 7), predict(folder / "one", "--users=17,3"),
            ["plot", f"--run={folder / 'one'}"], large, predict(folder / "large", "--num_draws=40"),
            flags(folder / "one", STEPS, "--dry_run")],
        2: [flags(folder / "two"), flags(folder / "parted", 7), flags(folder / "parted"), flags(folder / "moved"),
            predict(folder / "two", "--users=17,3")],
    }  # fmt: skip
    for ranks, commands in jobs.items():
        outcomes = running.all_succeed(folder / f"outcomes{ranks}", *commands, ranks=ranks)
        if ranks == 1:
            (folder / "dry_run.txt").write_text(outcomes[-1][0].stdout)
    return folder


def test_the_draws_of_all_users_are_in_the_checkpoint(folder):
    for name in ("one", "two"):
        found = running.stored(folder / name)
        assert found["hmc_local:0"].shape == (2, USERS, FACTORS + 1)
        assert found["hmc_local_draws:0"].shape == (2, STEPS - BURN_IN, USERS, FACTORS + 1)
        assert found["params:0"].shape == (2, (FACTORS + 1) * ITEMS)


@pytest.mark.parametrize("other", ["two", "moved"])
def test_the_number_of_ranks_changes_nothing_but_the_rounding(folder, other):
    """`moved` started on one rank and was resumed on two.

    Dual averaging multiplies the rounding of an acceptance by up to sqrt(burn-in) / 0.1 = 20, so the step sizes differ:
    by 2e-5 measured, and the positions by 2e-4. Wrong users or momenta would move positions by 0.1 and more.
    """
    with np.load(folder / "one" / records.CHAINS) as here, np.load(folder / other / records.CHAINS) as there:
        np.testing.assert_allclose(there["log_posterior_MT"], here["log_posterior_MT"], rtol=1e-5)
        np.testing.assert_array_equal(there["accept_MT"] > 0, here["accept_MT"] > 0)
    for name, value in running.stored(folder / "one").items():
        np.testing.assert_allclose(running.stored(folder / other)[name], value, rtol=0, atol=2e-3, err_msg=name)


def test_a_run_that_stopped_goes_on_bit_for_bit(folder):
    whole, parted = running.stored(folder / "two"), running.stored(folder / "parted")
    assert whole.keys() == parted.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(parted[name], value, err_msg=name)


def test_users_and_chains_have_momenta_of_their_own(folder):
    draws = running.stored(folder / "two")["hmc_local_draws:0"]
    assert np.any(np.diff(draws, axis=1))
    last = draws[:, -1].reshape(2 * USERS, -1)
    assert len(np.unique(last[:, 0])) == len(last)


def test_recommendations_count_the_draws_and_leave_out_what_was_seen(folder):
    run = folder / "one"
    found, arrays = running.read_json(run, records.RECOMMENDATIONS), sources.load("synthetic_ratings", "", **SIZE)
    seen_UI = np.maximum(arrays.y_train, arrays.y_test) > 0
    rated_U = seen_UI.sum(1)
    assert [user["why"] for user in found["users"]] == ["most ratings", "fewest ratings", "asked for", "asked for"]
    assert [user["num_ratings"] for user in found["users"][:2]] == [rated_U.max(), rated_U.min()]
    assert {"17", "3"} == {user["user"] for user in found["users"][2:]}
    for user in found["users"]:
        row = arrays.catalogue.users.index(user["user"])
        assert sum(title["count"] for title in user["by_title"]) == found["num_draws"] == 20
        assert sum(genre["count"] for genre in user["by_genre"]) == 20  # each item has one genre
        counts = [title["count"] for title in user["by_title"]]
        assert counts == sorted(counts, reverse=True)
        for title in user["by_title"]:
            assert not seen_UI[row, arrays.catalogue.titles.index(title["title"])]
    with np.load(run / records.PREDICTIVE) as arrays:
        assert not (arrays["recommended_votes_KI"] * arrays["recommended_seen_KI"]).any()


def test_recommendations_are_the_first_of_each_draw(folder):
    """The first recommendations are those that numpy computes from the draws in the checkpoint."""
    run = folder / "one"
    found, arrays = running.stored(run), sources.load("synthetic_ratings", "", **SIZE)
    local = found["hmc_local_draws:0"].reshape(20, USERS, FACTORS + 1)
    kernel, bias = np.split(found["hmc_draws:0"].reshape(20, -1), [FACTORS * ITEMS], 1)
    user = running.read_json(run, records.RECOMMENDATIONS)["users"][1]
    row = arrays.catalogue.users.index(user["user"])
    outputs = np.einsum("sd,sdi->si", local[:, row, :FACTORS], kernel.reshape(20, FACTORS, ITEMS)) + bias
    outputs[:, np.maximum(arrays.y_train, arrays.y_test)[row] > 0] = -np.inf
    votes = np.bincount(outputs.argmax(1), minlength=ITEMS)
    by_title = {title["title"]: title["count"] for title in user["by_title"]}
    assert by_title == {f"item {i}": votes[i] for i in np.flatnonzero(votes)}


def test_a_prediction_does_not_depend_on_the_ranks(folder):
    one, two = (running.read_json(folder / name, records.UNCERTAINTY) for name in ("one", "two"))
    for name in ("nll", "single_draw_nll", "truth_nll", "auroc"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name  # measured: 1e-6
    # Items that are equal but for rounding may change places.
    assert two["precision_at_10"] == pytest.approx(one["precision_at_10"], abs=1.5 / (10 * USERS))
    assert one["nll"] < one["single_draw_nll"]
    assert one["num_held_out"] == (sources.load("synthetic_ratings", "", **SIZE).y_test != 0).sum()


def test_known_factors_are_recovered(folder):
    """In theory, the nll exceeds the true factors' 0.494 by 3 (600 + 700) / (2 x 0.8 x 600 x 700) nats, or 1.2 %."""
    found = running.read_json(folder / "large", records.UNCERTAINTY)
    assert 1 < found["nll_over_truth"] < WITHIN
    assert found["nll"] < found["single_draw_nll"]
    predictions = running.read_json(folder / "large", records.DIAGNOSTICS)["predictions"]
    assert predictions["examined"] > 500
    assert predictions["r_hat_median"] < 1.1


def test_the_size_of_the_draws_is_said_before_and_after(folder):
    kept = 4 * 2 * (STEPS - BURN_IN) * (FACTORS + 1) * (USERS + ITEMS)
    assert f"bytes of kept draws         {kept}\n" in (folder / "dry_run.txt").read_text()
    assert running.read_json(folder / "one", records.DIAGNOSTICS)["kept_draws_bytes"] == kept


def test_the_figures_are_there(folder):
    for name in ("recommendations", "traces", "learning_curves", "weight_posteriors"):
        assert (folder / "one" / records.PLOTS / f"{name}.png").stat().st_size > 10_000


def test_mistakes_are_told_in_a_sentence(folder, tmp_path):
    commands = [
        predict(folder / "one", "--users=17,999"), predict(folder / "one", "--quantiles=0.5"),
        predict(folder / "one", f"--reference={folder / 'one'}"),
        ["train", "--dataset=movielens", f"--data_dir={tmp_path}", f"--run={tmp_path / 'run'}", "--threads=1"],
        ["prune", f"--run={folder / 'one'}"],
    ]  # fmt: skip
    said = ["there is no user '999'", "do not apply to ratings", "not of ratings", "has none of u.data", ""]
    outcomes = running.several(tmp_path / "outcomes", *commands)
    for (outcome,), sentence in zip(outcomes, said, strict=True):
        assert outcome.code == 2, outcome
        assert sentence in outcome.stderr
        assert len([line for line in outcome.stderr.splitlines() if "bnn_hvd" in line]) == 1
        assert "Traceback" not in outcome.stderr
