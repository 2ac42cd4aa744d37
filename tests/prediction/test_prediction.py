"""`predict` and `plot` on a run of `train`: the files, identities between their numbers, and the memory needed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import running

from bnn_hvd import config, plots
from bnn_hvd.errors import UserError
from bnn_hvd.metrics import classification, detection
from bnn_hvd.run import records

DRAWS, TEST_EXAMPLES = 30, 360
MANY_DRAWS, MANY_EXAMPLES, CLASSES = 300, 40_000, 3
# The memory that 270 more draws would need if they were kept.
KEPT_MB = (MANY_DRAWS - DRAWS) * MANY_EXAMPLES * CLASSES * 4 / 2**20


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> tuple[Path, dict[str, running.Outcome]]:
    """Train two runs and predict: the digits twice, and many examples with few draws and with many."""
    folder = tmp_path_factory.mktemp("predict")
    data = running.write_npz(folder / "data.npz")
    many = running.write_npz(folder / "many.npz", num_test=MANY_EXAMPLES)
    with np.load(data) as arrays:
        far = running.write_npz(
            folder / "far.npz", x_test=arrays["x_test"][:25] * 0 + 0.5, y_test=arrays["y_test"][:25]
        )
    digits, own = f"--run={folder / 'digits'}", f"--run={folder / 'own'}"
    learn = ("--batch_size=32", "--epochs=20", "--learning_rate=0.02")
    first = {
        "digits": ["train", *running.TINY, "--epochs=4", digits],
        "own": [
            "train",
            "--dataset=npz",
            f"--data_dir={data}",
            "--model=bnn_fc_flip",
            "--threads=1",
            *learn,
            own,
        ],
        "predict": ["predict", digits, f"--num_draws={DRAWS}", "--check_draws=1000", "--threads=1"],
        "ood": ["predict", own, f"--ood_data_dir={far}", "--threads=1"],
    }
    done = run_all(folder / "first", first)
    shutil.copytree(folder / "digits", folder / "again")
    shutil.copytree(folder / "own", folder / "other")
    shutil.copytree(folder / "own", folder / "kept")
    flagfile = folder / "other" / records.CONFIG
    flagfile.write_text(flagfile.read_text().replace("--epochs=20\n", "--epochs=21\n"))  # then it has not finished
    (folder / "elsewhere").mkdir()
    shutil.copy(data, folder / "elsewhere" / "many.npz")
    other = ["predict", f"--run={folder / 'other'}", f"--data_dir={many}", "--threads=1"]
    second = {
        "again": ["predict", f"--run={folder / 'again'}", f"--num_draws={DRAWS}", "--threads=1"],
        "few": [*other, f"--num_draws={DRAWS}"],
        "many": [*other, f"--num_draws={MANY_DRAWS}"],
        "far": ["predict", f"--run={folder / 'other'}", f"--data_dir={far}", "--threads=1", f"--out={folder / 'out'}"],
        "copy": ["predict", f"--run={folder / 'again'}", "--threads=1", f"--out={folder / 'copy'}"],
        "moved": [
            "predict",
            f"--run={folder / 'kept'}",
            f"--data_dir={folder / 'elsewhere' / 'many.npz'}",
            "--threads=1",
        ],
    }
    return folder, done | run_all(folder / "second", second)


def run_all(folder: Path, commands: dict[str, list[str]]) -> dict[str, running.Outcome]:
    outcomes = [ranks[0] for ranks in running.all_succeed(folder, *commands.values())]
    return dict(zip(commands, outcomes, strict=True))


def predictive(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / records.PREDICTIVE, allow_pickle=False) as arrays:
        return dict(arrays)


def test_arrays(job):
    found = predictive(job[0] / "digits")
    chosen = len(found["example_index_K"])
    shapes = {
        "probs_NC": (TEST_EXAMPLES, 10), "labels_N": (TEST_EXAMPLES,), "predictive_entropy_N": (TEST_EXAMPLES,),
        "expected_entropy_N": (TEST_EXAMPLES,), "mutual_information_N": (TEST_EXAMPLES,),
        "draws_SKC": (DRAWS, chosen, 10), "examples_K": (chosen, 8, 8, 1), "class_names": (10,),
    }  # fmt: skip
    assert {name: found[name].shape for name in shapes} == shapes
    assert set(found["labels_N"][found["example_index_K"]]) == set(range(10))  # the chosen ones have all classes


def test_identities(job):
    """Probabilities sum to 1; total = aleatoric + epistemic, none of them negative or more than log 10."""
    found = predictive(job[0] / "digits")
    np.testing.assert_allclose(found["probs_NC"].sum(1), 1, atol=1e-5)
    total, aleatoric, epistemic = (
        found[f"{name}_N"] for name in ("predictive_entropy", "expected_entropy", "mutual_information")
    )
    np.testing.assert_allclose(total, aleatoric + epistemic, atol=1e-6)
    np.testing.assert_allclose(total, classification.entropy(found["probs_NC"]), atol=1e-6)
    assert aleatoric.min() >= 0
    assert epistemic.min() >= -1e-6
    assert total.max() <= np.log(10) + 1e-6
    assert epistemic.max() > 1e-3  # the draws of a posterior disagree, those of a point estimate do not


def test_streamed_sums_are_those_of_the_single_draws(job):
    """All draws of the chosen examples are written: their mean and mean entropy equal the sums made block by block."""
    found = predictive(job[0] / "digits")
    index_K, draws_SKC = found["example_index_K"], found["draws_SKC"]
    np.testing.assert_allclose(draws_SKC.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(draws_SKC.mean(0), found["probs_NC"][index_K], atol=1e-5)
    np.testing.assert_allclose(
        classification.entropy(draws_SKC).mean(0), found["expected_entropy_N"][index_K], atol=1e-5
    )
    assert np.unique(draws_SKC[:, 0, 0]).size > DRAWS // 2  # the draws differ


def test_report(job):
    found, report = predictive(job[0] / "digits"), running.read_json(job[0] / "digits", records.UNCERTAINTY)
    expected = classification.summary(found["probs_NC"], found["labels_N"])
    assert expected.keys() == {"accuracy", "top5_accuracy", "nll", "brier", "ece"}
    assert {name: report[name] for name in expected} == pytest.approx(expected)
    parts = [report[f"{name}_uncertainty"] for name in ("total", "aleatoric", "epistemic")]
    assert parts[0] == pytest.approx(parts[1] + parts[2], abs=1e-6)
    assert parts[0] == pytest.approx(found["predictive_entropy_N"].mean())
    assert (report["num_draws"], report["num_examples"], report["ranks"]) == (DRAWS, TEST_EXAMPLES, 1)
    checked = report["posterior_check"]
    assert checked["num_draws"] == 1000
    assert checked["pareto_k"] > 0.7
    printed = job[1]["predict"].stdout
    assert f"pareto_k                 {checked['pareto_k']:.2f} ({checked['target']}): " in printed
    assert checked["meaning"] in printed
    assert f"{report['accuracy']:.4f}" in printed
    assert printed.startswith(f"predict: {TEST_EXAMPLES} examples with {DRAWS} draws of {job[0] / 'digits'}; ranks: 1")
    assert printed.endswith(f"Next: python -m bnn_hvd plot --run={job[0] / 'digits'}\n")
    assert str(job[0] / "digits" / records.UNCERTAINTY) in printed


def test_predict_twice_gives_the_same_bytes(job):
    first, again = (predictive(job[0] / name) for name in ("digits", "again"))
    assert {name: array.tobytes() for name, array in first.items()} == {
        name: array.tobytes() for name, array in again.items()
    }


def test_the_prediction_of_other_data_has_its_own_place(job):
    """The run keeps the prediction of its own test part, which does not depend on where its file is."""
    folder = job[0]
    assert predictive(folder / "own")["probs_NC"].shape == (40, CLASSES)
    assert predictive(folder / "other")["probs_NC"].shape == (40, CLASSES)
    assert "ood" in running.read_json(folder / "other", records.UNCERTAINTY)  # it was copied with the run
    (place,) = (folder / "other" / records.PREDICTIONS).iterdir()
    assert predictive(place)["probs_NC"].shape == (MANY_EXAMPLES, CLASSES)
    report = running.read_json(place, records.UNCERTAINTY)
    assert report["num_examples"] == MANY_EXAMPLES
    assert report["accuracy"] > 0.6
    assert not (folder / "kept" / records.PREDICTIONS).exists()


def test_a_prediction_says_of_which_run_step_and_data_it_is(job):
    folder = job[0]
    (many,) = (folder / "other" / records.PREDICTIONS).iterdir()
    own = running.read_json(folder / "kept", records.DATA)["fingerprint"]
    origins = {}
    for name, place in {"own": folder / "kept", "other": many, "out": folder / "out", "copy": folder / "copy"}.items():
        origins[name] = running.read_json(place, records.UNCERTAINTY)["origin"]
        found = predictive(place)
        for key in ("fingerprint", "own_data", "step", "run_finished"):
            assert found[f"origin_{key}"].item() == origins[name][key]
    assert many.name == f"many-{origins['other']['fingerprint'][:8]}"
    assert len({origin["fingerprint"] for origin in origins.values()}) == 4
    assert origins["own"] == {
        "run": str(folder / "kept"), "data_dir": str(folder / "elsewhere" / "many.npz"), "fingerprint": own["test"],
        "own_data": True, "step": 60, "run_finished": True,
    }  # fmt: skip
    assert origins["other"] | {"fingerprint": ""} == {
        "run": str(folder / "other"), "data_dir": str(folder / "many.npz"), "fingerprint": "",
        "own_data": False, "step": 60, "run_finished": False,
    }  # fmt: skip
    assert origins["copy"]["data_dir"] == ""
    assert "at step 60 of a run that has not finished" in job[1]["many"].stdout
    assert "not finished" not in job[1]["moved"].stdout


def test_plot_draws_the_prediction_that_is_asked_for(job):
    folder = job[0]
    (many,) = (folder / "other" / records.PREDICTIONS).iterdir()
    for name in (many.name, str(many)):
        assert plots.main(config.make(config.PlotConfig, run=str(folder / "other"), prediction=name)) == 0
    assert {path.stem for path in (many / records.PLOTS).iterdir()} == {
        name for name, row in plots.FIGURES.items() if row.needs in ("draws_SKC", "probs_NC", "labels_N")
    }
    assert not (folder / "other" / records.PLOTS).exists()
    with pytest.raises(UserError, match=f"--prediction=far is no folder .* of .*other are {many.name}"):
        plots.main(config.make(config.PlotConfig, run=str(folder / "other"), prediction="far"))


def test_out_of_distribution(job):
    report = running.read_json(job[0] / "own", records.UNCERTAINTY)
    found = predictive(job[0] / "own")
    pairs = {
        "entropy": (found["predictive_entropy_N"], found["ood_predictive_entropy_M"]),
        "mutual_information": (found["mutual_information_N"], found["ood_mutual_information_M"]),
        "max_prob": (1 - found["probs_NC"].max(1).astype(float), 1 - found["ood_max_prob_M"].astype(float)),
    }
    for name, (inside, outside) in pairs.items():
        assert outside.shape == (25,)
        for score in (detection.auroc, detection.fpr95, detection.aupr):
            key = f"{score.__name__}_{name}"
            assert report["ood"][key] == pytest.approx(score(inside, outside))
            assert f"{key:24} {report['ood'][key]:.4f}" in job[1]["ood"].stdout
    assert report["ood"]["num_examples"] == 25
    assert "ood" not in running.read_json(job[0] / "digits", records.UNCERTAINTY)


def test_selective_prediction(job):
    """The examples are left out in the order of their uncertainty, and the risks are those of counting."""
    found, report = predictive(job[0] / "digits"), running.read_json(job[0] / "digits", records.UNCERTAINTY)
    wrong_N = found["probs_NC"].argmax(1) != found["labels_N"]
    order = np.argsort(found["predictive_entropy_N"], kind="stable")
    risk_N = np.cumsum(wrong_N[order]) / np.arange(1, TEST_EXAMPLES + 1)
    chosen = report["selective"]["entropy"]
    assert chosen["aurc"] == pytest.approx(risk_N.mean())
    assert chosen["coverage_at_risk"] == (np.flatnonzero(risk_N <= 0.05)[-1] + 1) / TEST_EXAMPLES
    assert set(report["selective"]) == {"max_prob", "entropy", "mutual_information"}
    assert f"aurc {chosen['aurc']:.4f}, coverage at 5 % risk" in job[1]["predict"].stdout


def test_memory_does_not_grow_with_the_draws(job):
    """The peak memory after 300 draws is that after 30: if the draws were kept, it would be 124 MB more."""
    few, many = job[1]["few"].peak_mb, job[1]["many"].peak_mb
    assert many - few < KEPT_MB / 2, (few, many)


def test_plots(job):
    run = job[0] / "digits"
    outcome = running.bnn_hvd("plot", f"--run={run}")
    assert outcome.returncode == 0, outcome.stderr
    for name in (name for name, row in plots.FIGURES.items() if row.needs in ("", "probs_NC") and not row.optional):
        path = run / records.PLOTS / f"{name}.png"
        assert path.read_bytes().startswith(b"\x89PNG")
        assert str(path) in outcome.stdout.splitlines()
