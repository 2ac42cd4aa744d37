"""`predict` on data that a run has not seen: with labels, with some, with none; whatever their file."""

import csv
from pathlib import Path

import numpy as np
import pytest
import running
from PIL import Image

from bnn_hvd import config, plots
from bnn_hvd.run import records

TRAIN = ("train", "--threads=1", "--method=vi", "--epochs=3", "--batch_size=16", "--eval_draws=2")
NAMES = np.array(["ash", "elm", "oak"])
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Train on words as labels, on images, and on a table for each kind of target; predict what has no labels."""
    folder = tmp_path_factory.mktemp("new")
    commands = [*own_arrays(folder), *images(folder), *tables(folder)]
    running.all_succeed(folder / "outcomes", *commands)
    return folder


def predict(run: Path, data: Path | None = None, out: Path | None = None) -> list[str]:
    more = [f"--data_dir={data}"] * (data is not None) + [f"--out={out}"] * (out is not None)
    return ["predict", f"--run={run}", "--num_draws=8", "--check_draws=0", "--threads=1", *more]


def own_arrays(folder: Path) -> list[list[str]]:
    file, run = running.write_npz(folder / "words.npz"), folder / "words"
    with np.load(file) as arrays:
        parts = dict(arrays)
    x, y = parts["x_test"], NAMES[parts["y_test"]]
    running.write_npz(file, y_train=NAMES[parts["y_train"]], y_test=y)
    np.savez(folder / "alone.npz", x=x)
    np.save(folder / "alone.npy", x)
    np.savez(folder / "some.npz", x=x, y=np.where(np.arange(len(y)) < 25, y, ""))
    np.savetxt(
        folder / "alone.csv", x.astype(np.float64), delimiter=",", header="a,b,c,d,e,f", comments="", fmt="%.18g"
    )
    learn = [*TRAIN, "--architecture=fc", "--dataset=npz", f"--data_dir={file}", f"--run={run}"]
    others = [folder / f"{name}" for name in ("alone.npz", "alone.npy", "some.npz", "alone.csv")]
    return [learn, predict(run), *(predict(run, other, folder / f"of_{other.name}") for other in others)]


def images(folder: Path) -> list[list[str]]:
    run, pictures = folder / "digits", folder / "pictures"
    pictures.mkdir()
    from bnn_hvd.data import sources

    for i, image in enumerate(sources.load("digits", "").x_test[:5]):
        Image.fromarray(image[..., 0]).save(pictures / f"{i}.png")
    learn = [*TRAIN, "--architecture=fc", "--steps=5", f"--run={run}"]
    learn.remove("--epochs=3")
    return [learn, predict(run), predict(run, pictures, folder / "of_pictures")]


def tables(folder: Path) -> list[list[str]]:
    rows = [{"a": i / 7, "colour": COLOURS[i % 3], "species": NAMES[i % 3], "y": i / 5} for i in range(60)]
    write_csv(folder / "trees.csv", rows)
    columns = ("extra", "colour", "a")
    write_csv(folder / "swapped.csv", [{name: ({"extra": "?"} | row)[name] for name in columns} for row in rows])
    commands = []
    for target in ("species", "y"):
        run = folder / target
        data = ["--dataset=table", f"--data_dir={folder / 'trees.csv'}", f"--target={target}", "--columns=a,colour"]
        commands += [[*TRAIN, "--architecture=mlp", *data, f"--run={run}"], predict(run)]
        commands += [predict(run, folder / "swapped.csv", folder / f"swapped_{target}")]
        commands += [predict(run, folder / "trees.csv")]  # the run's own data
    return commands


def write_csv(file: Path, rows: list[dict]) -> None:
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def predictive(place: Path) -> dict[str, np.ndarray]:
    with np.load(place / records.PREDICTIVE, allow_pickle=False) as arrays:
        return dict(arrays)


def report(place: Path) -> dict:
    return running.read_json(place, records.UNCERTAINTY)


def table(place: Path) -> list[dict[str, str]]:
    with (place / records.PREDICTED_ROWS).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["alone.npz", "alone.npy", "some.npz", "alone.csv"])
def test_labels_change_no_prediction(folder, name):
    own, other = predictive(folder / "words"), predictive(folder / f"of_{name}")
    for key in ("probs_NC", "mutual_information_N", "row_N", "class_names"):
        np.testing.assert_array_equal(own[key], other[key])
    assert own["class_names"].tolist() == NAMES.tolist()


def test_scores_are_of_the_examples_with_labels(folder):
    own, some, alone = (report(folder / name) for name in ("words", "of_some.npz", "of_alone.npz"))
    assert [one["num_labelled"] for one in (own, some, alone)] == [40, 25, 0]
    assert {"accuracy", "nll", "ece", "single_draw_accuracy"} <= own.keys()
    assert not {"accuracy", "nll", "ece", "single_draw_accuracy"} & alone.keys()
    found = predictive(folder / "words")
    right_N = found["probs_NC"].argmax(1) == found["labels_N"]
    assert some["accuracy"] == right_N[:25].mean()
    assert own["accuracy"] == right_N.mean()
    for key in ("total_uncertainty", "epistemic_uncertainty"):
        assert own[key] == some[key] == alone[key]
    assert "labels_N" not in predictive(folder / "of_alone.npz")


def test_each_example_is_a_row_of_the_csv(folder):
    found, own, some = predictive(folder / "words"), table(folder / "words"), table(folder / "of_some.npz")
    assert list(own[0]) == [
        "row", "prediction", "confidence", "p_ash", "p_elm", "p_oak", "total", "aleatoric", "epistemic", "label"
    ]  # fmt: skip
    assert [row["prediction"] for row in own] == NAMES[found["probs_NC"].argmax(1)].tolist()
    assert [row["label"] for row in own] == NAMES[found["labels_N"]].tolist()
    assert [row["label"] for row in some[25:]] == [""] * 15
    np.testing.assert_allclose([float(row["p_elm"]) for row in own], found["probs_NC"][:, 1], rtol=1e-6)
    np.testing.assert_allclose([float(row["epistemic"]) for row in own], found["mutual_information_N"], rtol=1e-6)
    assert "label" not in table(folder / "of_alone.npz")[0]


def test_a_folder_of_images_has_the_names_of_its_files(folder):
    own, other = predictive(folder / "digits"), predictive(folder / "of_pictures")
    np.testing.assert_array_equal(own["probs_NC"][:5], other["probs_NC"])
    assert [row["name"] for row in table(folder / "of_pictures")] == [f"{i}.png" for i in range(5)]


@pytest.mark.parametrize("target", ["species", "y"])
def test_all_rows_of_a_new_table_are_predicted(folder, target):
    """Its columns are in another order and one more, without the target; the rows that were held out are the same."""
    own, other = predictive(folder / target), predictive(folder / f"swapped_{target}")
    key = "probs_NC" if target == "species" else "mean_N"
    assert other["row_N"].tolist() == list(range(60))
    assert len(own["row_N"]) == 12
    np.testing.assert_allclose(other[key][own["row_N"]], own[key], rtol=1e-5)
    assert [int(row["row"]) for row in table(folder / target)] == own["row_N"].tolist()
    assert report(folder / f"swapped_{target}")["num_labelled"] == 0
    assert not (folder / target / records.PREDICTIONS).exists()  # the run's own table has its own test part


@pytest.mark.parametrize(
    ("place", "figures"),
    [
        ("of_alone.npz", {"predictive_draws_confident", "predictive_draws_doubtful", "uncertainty_histogram"}),
        ("swapped_y", {"predictions"}),
    ],
)
def test_figures_are_those_that_need_no_labels(folder, place, figures):
    run = folder / {"of_alone.npz": "words", "swapped_y": "y"}[place]
    assert plots.main(config.make(config.PlotConfig, run=str(run), prediction=str(folder / place))) == 0
    assert {path.stem for path in (folder / place / records.PLOTS).iterdir()} == figures


def test_what_does_not_fit_the_run_is_a_users_mistake(folder, tmp_path):
    np.savez(tmp_path / "wide.npz", x=np.zeros([4, 7], np.float32))
    np.savez(tmp_path / "elsewhere.npz", x=np.zeros([4, 6], np.float32), y=np.array(["fir"] * 4))
    np.savez(tmp_path / "two.npz", a=np.zeros([4, 6]), b=np.zeros(4))
    np.savez(tmp_path / "nan.npz", x=np.full([4, 6], np.nan))
    Image.fromarray(np.zeros([9, 8], np.uint8)).save(tmp_path / "large.png")
    np.savez(tmp_path / "scaled.npz", x=np.full([4, 8, 8], 0.5))
    says = {
        "wide.npz": "has examples of shape [7], the run was trained on [6]",
        "elsewhere.npz": "has the label fir, which is none of the 3 classes of the run, ash, elm, oak",
        "two.npz": "has a, b: data to predict must be called x, or x_test",
        "nan.npz": "x_test is NaN or infinite, first at index [0, 0]",
        "none.npz": "does not exist",
    }
    commands = [predict(folder / "words", tmp_path / name) for name in says]
    commands += [predict(folder / "digits", tmp_path), predict(folder / "digits", tmp_path / "scaled.npz")]
    commands += [["prune", f"--run={folder / 'words'}", f"--data_dir={folder / 'alone.npz'}"]]
    more = ["large.png has 8 x 9 pixels, the run was trained on 8 x 8", "x is float32, the run was trained on uint8"]
    more += ["has examples without a label: give data with labels"]
    for (outcome,), text in zip(running.several(tmp_path / "out", *commands), [*says.values(), *more], strict=True):
        assert outcome.code == 2
        (error,) = running.errors(outcome.stderr)
        assert text in error
