"""Chains whose data are spread over ranks equal those of one rank, can be resumed, and can be predicted with."""

from pathlib import Path

import numpy as np
import pytest
import running

from bnn_hvd.run import records

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]
TRAIN = (
    "train", "--architecture=linear", "--method=hmc", "--num_chains=2", "--hmc_leapfrog_steps=5",
    "--hmc_step_size=0.006", "--hmc_burn_in_steps=4", "--hmc_jitter=0.4", "--threads=1",
    "--eval_every_epochs=5", "--eval_draws=4",
)  # fmt: skip
STEPS = 16
# Both runs round a position once in each leapfrog step, of which a trajectory has up to 1.4 x 5: 1.3e-5 of the largest
# number. The gradient's own rounding is multiplied by the square of the step size. (Measured: 3e-7.)
ROUNDING = 2 * STEPS * 7 * 2**-24


def flags(folder: Path, name: str, steps: int = STEPS, *more: str) -> list[str]:
    return [*TRAIN, f"--hmc_kept_draws={STEPS - 4}", f"--run={folder / name}", f"--steps={steps}", *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Run the same commands on one rank and on two."""
    folder = tmp_path_factory.mktemp("chains")
    jobs = {
        1: [flags(folder, "one"), flags(folder, "other", STEPS, "--seed=1"),
            flags(folder, "exact", STEPS, "--hmc_float64_accept"),
            ["predict", f"--run={folder / 'one'}", "--num_draws=24", "--threads=1"],
            [
                "predict", f"--run={folder / 'other'}", "--num_draws=24", f"--reference={folder / 'one'}",
                "--check_draws=100", "--threads=1",
            ],
            ["plot", f"--run={folder / 'one'}"],
        ],
        2: [flags(folder, "two"), flags(folder, "parted", 7), flags(folder, "parted"),
            flags(folder, "groups", STEPS, "--chain_groups=2"),
            flags(folder, "exact_two", STEPS, "--hmc_float64_accept"),
            ["predict", f"--run={folder / 'two'}", "--num_draws=24", "--threads=1"],
        ],
    }  # fmt: skip
    for ranks, commands in jobs.items():
        running.all_succeed(folder / f"outcomes{ranks}", *commands, ranks=ranks)
    return folder


def traces(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / records.CHAINS) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("name", "other"), [("two", "one"), ("groups", "one"), ("exact_two", "exact")])
def test_the_chains_do_not_depend_on_the_number_of_ranks(folder, name, other):
    here, there = traces(folder / name), traces(folder / other)
    np.testing.assert_allclose(here["log_posterior_MT"], there["log_posterior_MT"], rtol=ROUNDING)
    # Each term of the energy is rounded to float32, at both ends of a trajectory, in both runs. (Measured: 3e-5.)
    bound = 4 * np.abs(there["log_posterior_MT"]).max() * 2**-24
    np.testing.assert_allclose(here["accept_MT"], there["accept_MT"], atol=bound)
    np.testing.assert_array_equal(here["accept_MT"] > 0, there["accept_MT"] > 0)
    for key, value in running.stored(folder / other).items():
        bound = ROUNDING * np.abs(value).max()
        np.testing.assert_allclose(running.stored(folder / name)[key], value, rtol=0, atol=bound, err_msg=key)


def test_some_proposals_were_accepted_and_some_rejected(folder):
    draws = running.stored(folder / "one")["hmc_draws:0"]
    moved = np.any(np.diff(draws, axis=1), -1)
    assert 0 < moved.sum() < moved.size


def test_a_chain_that_is_interrupted_goes_on_bit_for_bit(folder):
    whole, parted = running.stored(folder / "two"), running.stored(folder / "parted")
    for name, value in whole.items():
        np.testing.assert_array_equal(parted[name], value, err_msg=name)


def test_the_chains_are_different_ones(folder):
    draws = running.stored(folder / "one")["hmc_draws:0"]
    assert np.abs(draws[0] - draws[1]).max() > 0.1
    assert np.abs(draws - running.stored(folder / "other")["hmc_draws:0"]).max() > 0.1


def test_the_run_says_how_its_chains_are(folder):
    for name in ("one", "two", "groups"):
        report = records.read_json(folder / name / records.DIAGNOSTICS)
        assert (report["num_chains"], report["trajectories"], report["kept_draws_per_chain"]) == (2, STEPS, STEPS - 4)
        assert len(report["acceptance"]) == len(report["step_size"]) == 2
        assert report["log_posterior"]["r_hat"] > 0.9
        assert report["log_posterior"]["ess_bulk"] > 1
        cost = report["cost"]
        assert cost["examples_x_gradients_per_s"] == pytest.approx(cost["leapfrog_steps_per_s"] * 2 * 1437)
        assert (cost["communication_share"] > 0) == (name == "two")  # a group of one rank does not communicate
    assert (folder / "one" / records.PLOTS / "traces.png").is_file()


def test_the_average_of_the_draws_and_the_draws_on_average_are_both_reported(folder):
    for name in ("one", "two"):
        found = records.read_json(folder / name / records.UNCERTAINTY)
        assert found["num_draws"] == 24
        assert 0.5 < found["single_draw_accuracy"] <= found["accuracy"] + 0.02
    with np.load(folder / "one" / records.PREDICTIVE) as arrays:
        chosen = arrays["draws_SKC"].argmax(-1) == arrays["labels_N"][arrays["example_index_K"]]
        assert len(chosen) == 24


def test_a_run_is_compared_with_a_reference(folder):
    found = records.read_json(folder / "other" / records.UNCERTAINTY)["reference"]
    with np.load(folder / "one" / records.PREDICTIVE) as a, np.load(folder / "other" / records.PREDICTIVE) as b:
        p, q = a["probs_NC"].astype(np.float64), b["probs_NC"].astype(np.float64)
        epistemic = [arrays["mutual_information_N"].mean() for arrays in (a, b)]
    assert found["agreement"] == pytest.approx(np.mean(p.argmax(1) == q.argmax(1)))
    assert found["total_variation"] == pytest.approx(np.abs(p - q).sum(1).mean() / 2, rel=1e-6)
    assert found["epistemic_ratio"] == pytest.approx(epistemic[1] / epistemic[0], rel=1e-6)
    assert 0 < found["epistemic_rank_correlation"] < 1
    assert "posterior_check" not in records.read_json(folder / "other" / records.UNCERTAINTY)  # it is exact
