"""The figures are drawn from files alone, are readable and have labelled axes; errors are clear."""

import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from bnn_hvd import plots
from bnn_hvd.config import PlotConfig
from bnn_hvd.errors import UserError
from bnn_hvd.metrics import classification
from bnn_hvd.plots import recommendations
from bnn_hvd.run import records

FROM_TRAIN = ["learning_curves", "weight_posteriors"]
FROM_PREDICT = ["predictive_draws_confident", "predictive_draws_doubtful", "reliability", "uncertainty_histogram"]
REPOSITORY = Path(__file__).parents[2]
EPOCHS, STEPS_PER_EPOCH, NUM_TRAIN = 10, 90, 1437


def synthetic_run(
    run: Path, *, num_classes=10, shape=(8, 8, 1), bayesian=True, ood=False, num_draws=60, layers=("conv1",),
    num_examples=600, class_names=None, images=None, predicted=True,
):  # fmt: skip
    """Write a run directory that has the files and keys of a real one, and numbers of about the same size."""
    rng = np.random.default_rng(0)
    records.make_run_directory(run)
    records.write_text(run / records.CONFIG, "--dataset=digits\n")
    records.append_jsonl(run / records.METRICS, *_metrics(rng, bayesian, num_classes))
    for epoch in range(1, EPOCHS + 1):
        path = run / records.POSTERIOR / f"step_{epoch * STEPS_PER_EPOCH:08d}.npz"
        records.write_npz(path, _posterior(rng, epoch, [*layers, "logits"], layers if bayesian else ()))
    if predicted:
        names = class_names or [str(c) for c in range(num_classes)]
        draws_SNC, labels_N = _draws(rng, num_draws if bayesian else 1, num_examples, num_classes, signal=1.0)
        inputs = _inputs(rng, labels_N, shape) if images is None else images(labels_N)
        arrays = _predictive(draws_SNC, labels_N, inputs, names)
        if ood:
            ood_draws, _ = _draws(rng, num_draws, num_examples // 2, num_classes, signal=0.15)
            arrays |= {f"ood_{key[:-1]}M": value for key, value in _entropies(ood_draws).items()}
        records.write_npz(run / records.PREDICTIVE, arrays)
    return run


def _metrics(rng, bayesian, num_classes):
    for step in range(10, EPOCHS * STEPS_PER_EPOCH + 1, 10):
        epoch = step / STEPS_PER_EPOCH
        nll = 0.05 + (np.log(num_classes) - 0.1) * np.exp(-epoch) * rng.lognormal(0, 0.3)
        accuracy = float(np.clip(1 - 0.3 * nll - 0.02 * rng.random(), 0, 1))
        row = {"kind": "train", "step": step, "epoch": epoch, "examples_seen": 16 * step, "loss": nll,
               "nll": nll, "accuracy": accuracy, "learning_rate": 1e-3, "kl_weight": min(1.0, epoch / 2)}  # fmt: skip
        if bayesian:
            kl = 4500 - 250 * epoch + 5 * rng.normal()
            row |= {"kl": kl, "elbo": -nll - kl / NUM_TRAIN, "loss": nll + kl / NUM_TRAIN}
        yield row
        if step % STEPS_PER_EPOCH == 0:
            test = {"nll": 0.07 + 0.8 * np.exp(-epoch), "accuracy": 0.975 - 0.25 * np.exp(-epoch)}
            draws = {"brier": 0.04, "ece": 0.01, "num_draws": 10 if bayesian else 1}
            yield {"kind": "eval", "step": step, "epoch": epoch} | test | draws


def _posterior(rng, epoch, layers, bayesian):
    arrays = {}
    for layer in layers:
        values = {f"{layer}/kernel/loc": rng.normal(0, 0.05 + 0.02 * epoch, 1600)}
        values[f"{layer}/bias/loc"] = rng.normal(0, 0.02, 64)
        if layer in bayesian:
            values[f"{layer}/kernel/scale"] = 0.03 * np.exp(0.12 * epoch * rng.normal(0.5, 0.5, 1600))
        for name, value in values.items():
            arrays[f"{name}_counts"], arrays[f"{name}_edges"] = np.histogram(value, 50)
    return arrays


def _draws(rng, num_draws, num_examples, num_classes, signal):
    """Return class probabilities and labels: each example has a signal for its label and for one other class.

    Noise is added per draw.
    """
    labels_N = rng.integers(num_classes, size=num_examples)
    logits_NC = rng.normal(0, 0.7, (num_examples, num_classes))
    rows = np.arange(num_examples)
    logits_NC[rows, labels_N] += signal * rng.gamma(4, 2, num_examples)
    logits_NC[rows, (labels_N + rng.integers(1, num_classes, num_examples)) % num_classes] += 2.2
    logits_SNC = logits_NC + rng.normal(0, 0.8, (num_draws, num_examples, num_classes))
    probs_SNC = np.exp(logits_SNC - logits_SNC.max(-1, keepdims=True))
    return (probs_SNC / probs_SNC.sum(-1, keepdims=True)).astype(np.float32), labels_N


def _inputs(rng, labels_N, shape):
    if len(shape) == 1:
        axis = np.linspace(0, 6, shape[0])
        return (np.sin(axis + labels_N[:, None]) + 0.2 * rng.normal(size=(len(labels_N), *shape))).astype(np.float32)
    pixels = np.zeros((len(labels_N), *shape), np.uint8)
    for pixel, label in zip(pixels, labels_N, strict=True):
        pixel[label % shape[0], :] = 200
    return pixels + rng.integers(0, 55, pixels.shape, np.uint8)


def _entropies(draws_SNC):
    total, aleatoric = classification.entropy(draws_SNC.mean(0)), classification.entropy(draws_SNC).mean(0)
    return {"predictive_entropy_N": total, "expected_entropy_N": aleatoric, "mutual_information_N": total - aleatoric}


def _predictive(draws_SNC, labels_N, inputs, names):
    entropies = _entropies(draws_SNC)
    chosen_K = classification.choose_examples(labels_N, entropies["predictive_entropy_N"])
    return entropies | {
        "probs_NC": draws_SNC.mean(0), "labels_N": labels_N, "draws_SKC": draws_SNC[:, chosen_K],
        "example_index_K": chosen_K, "examples_K": inputs[chosen_K], "class_names": np.array(names),
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return synthetic_run(tmp_path_factory.mktemp("runs") / "digits_BNN_conv_flip", ood=True)


@pytest.fixture(scope="module")
def figures(run):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return drawn(run, monkeypatch)


def plot(run, format="png"):
    return plots.main(PlotConfig(run=str(run), format=format))


def drawn(run, monkeypatch):
    """Plot without writing files; returns {name: Figure}."""
    figures = {}
    monkeypatch.setattr(plots.style, "save", lambda figure, path: figures.setdefault(path.stem, figure))
    plot(run)
    return figures


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


def test_every_figure_is_written_named_and_not_blank(run, capsys):
    assert plot(run) == 0
    files = [run / records.PLOTS / f"{name}.png" for name in FROM_TRAIN + FROM_PREDICT]
    assert capsys.readouterr().out.split() == [str(file) for file in files]
    assert sorted((run / records.PLOTS).iterdir()) == sorted(files)  # no temporary file is left
    for file in files:
        pixels_HWC = image.imread(file)
        assert min(pixels_HWC.shape[:2]) >= 400
        assert len(np.unique(pixels_HWC[..., :3] @ (1, 256, 65536))) > 100, file  # it has many colours
        assert np.mean(pixels_HWC[..., :3].min(axis=-1) < 0.97) > 0.02, file  # it is not almost white


def test_vector_formats_are_whole_and_the_same_each_time(run, monkeypatch):
    monkeypatch.setattr(plots, "FIGURES", {"reliability": plots.FIGURES["reliability"]})
    contents = []
    for _ in range(2):
        plot(run, "PDF")
        plot(run, "svg")
        pdf, svg = ((run / records.PLOTS / f"reliability.{kind}").read_bytes() for kind in ("pdf", "svg"))
        assert pdf.startswith(b"%PDF-")
        assert b"%%EOF" in pdf[-16:]
        assert xml.etree.ElementTree.fromstring(svg).tag.endswith("svg")
        contents.append((pdf, svg))
    assert contents[0] == contents[1]


CASES = {
    "images": {"ood": True},
    "vectors": {"shape": (24,), "num_classes": 3},
    "point": {"bayesian": False},
    "two_classes": {"num_classes": 2, "class_names": ["benign", "malignant"], "shape": (8, 8, 3)},
    "many_classes": {"num_classes": 26, "layers": [f"conv{i}" for i in range(15)]},
}


@pytest.mark.parametrize("case", CASES)
def test_axes_are_labelled(case, tmp_path, monkeypatch):
    figures = drawn(synthetic_run(tmp_path / case, **CASES[case]), monkeypatch)
    assert list(figures) == FROM_TRAIN + FROM_PREDICT
    for name, figure in figures.items():
        assert case in figure.get_suptitle()
        assert any(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes), name
        for axes in figure.axes:
            assert axes.has_data(), name
            assert axes.get_xlabel() or axes.get_ylabel() or name.startswith("predictive"), name


def test_learning_curves_have_a_panel_per_quantity_with_its_unit(run, figures):
    panels = figures["learning_curves"].axes
    units = ["nats per example", "fraction correct", "nats", "nats per example"]
    assert [axes.get_ylabel() for axes in panels] == units
    train, test = (line for line in panels[0].get_lines() if not line.get_label().startswith("_"))
    logged = [row["nll"] for row in records.read_jsonl(run / records.METRICS) if row["kind"] == "eval"]
    assert test.get_ydata().tolist() == logged
    assert train.get_xdata()[-1] > 9.5
    assert "KL warm-up" in texts(panels[2].figure)


def test_a_point_network_has_no_kl_no_elbo_and_no_standard_deviations(tmp_path, monkeypatch):
    figures = drawn(synthetic_run(tmp_path / "cnn", bayesian=False), monkeypatch)
    assert len(figures["learning_curves"].axes) == 2
    assert [axes.get_xlabel() for axes in figures["weight_posteriors"].axes] == ["weight", "weight"]
    assert "one draw" not in texts(figures["predictive_draws_doubtful"])


def test_weight_posteriors_show_bayesian_layers_early_and_late(run, figures):
    figure = figures["weight_posteriors"]
    assert [axes.get_title() for axes in figure.axes] == ["conv1/kernel"] * 2
    assert [axes.get_xlabel() for axes in figure.axes] == ["posterior mean", "posterior standard deviation"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert (labels[0], labels[-1]) == ("epoch 1", "epoch 10")
    assert figure.axes[1].get_xlim()[0] >= 0
    early, late = figure.axes[0].get_lines()[0], figure.axes[0].get_lines()[-1]  # the spread grows 3.6-fold
    spread = [np.average(line.get_xdata() ** 2, weights=line.get_ydata()) ** 0.5 for line in (early, late)]
    assert spread == pytest.approx([0.07, 0.25], rel=0.15)


def test_predictive_draws_show_mean_truth_and_prediction(run, figures):
    arrays = np.load(run / records.PREDICTIVE)
    for half, name in enumerate(FROM_PREDICT[:2]):
        assert len(figures[name].axes) == 20
        for i, k in enumerate(range(10 * half, 10 * half + 10)):
            inset, panel = figures[name].axes[2 * i : 2 * i + 2]
            label = arrays["labels_N"][arrays["example_index_K"][k]]
            mean_C = arrays["draws_SKC"][:, k].mean(axis=0)
            bars = [c.get_segments()[0][0, 1] for c in panel.collections if isinstance(c, LineCollection)]
            assert bars == pytest.approx(mean_C, abs=1e-6)
            assert panel.get_title(loc="left") == f"predicted {mean_C.argmax()}"
            assert panel.patches[0].get_x() == label - 0.5  # the band marks the label
            assert f"true: {label}\n" in inset.get_xlabel()
            assert inset.get_images()[0].get_array().shape == (8, 8)


def test_reliability_states_the_ece_of_the_file(run, figures):
    arrays = np.load(run / records.PREDICTIVE)
    figure = figures["reliability"]
    assert f"ECE {classification.ece(arrays['probs_NC'], arrays['labels_N']):.4f}" in texts(figure)
    assert figure.axes[1].patches[0].get_data().values.sum() == len(arrays["labels_N"])


def test_uncertainty_histogram_states_the_auroc_where_there_is_other_data(run, figures, tmp_path, monkeypatch):
    arrays = np.load(run / records.PREDICTIVE)
    panels = figures["uncertainty_histogram"].axes
    for axes, name in zip(panels[1:], ("predictive_entropy", "mutual_information"), strict=True):
        area = classification.auroc(arrays[f"{name}_N"], arrays[f"ood_{name}_M"])
        assert axes.get_legend().get_title().get_text() == f"AUROC {area:.3f}"
    plain = synthetic_run(tmp_path / "plain")
    assert all("[nats]" in axes.get_xlabel() and axes.get_ylabel() for axes in panels)
    assert len(drawn(plain, monkeypatch)["uncertainty_histogram"].axes) == 1


def test_what_predict_would_add_is_skipped_with_the_command_that_makes_it(tmp_path, capsys):
    run = synthetic_run(tmp_path / "run", predicted=False)
    assert plot(run) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [str(run / records.PLOTS / f"{name}.png") for name in FROM_TRAIN]
    assert f"no {records.PREDICTIVE}; `python -m bnn_hvd predict --run={run}`" in lines[0]


def test_files_of_predict_alone_are_enough(run, tmp_path, capsys):
    (tmp_path / records.PREDICTIVE).write_bytes((run / records.PREDICTIVE).read_bytes())
    assert plot(tmp_path) == 0
    assert len(list((tmp_path / records.PLOTS).glob("*.png"))) == 4


def test_no_tensorflow_is_imported(run):
    code = "import sys; from bnn_hvd import cli; code = cli.main(['bnn_hvd', 'plot', '--run', sys.argv[1]])"
    code += "; sys.exit(code or bool({'tensorflow', 'horovod', 'matplotlib.pyplot'} & set(sys.modules)))"
    command = [sys.executable, "-c", code, run]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda run: None, "there is no directory"),
        (lambda run: run.mkdir(), "is not a run directory"),
        (lambda run: (run.mkdir(), (run / records.CONFIG).write_text("--seed=0\n")), "nothing to plot yet"),
        (lambda run: (run.mkdir(), (run / records.METRICS).write_text('{"kind": "tr')), "no row to plot"),
        (lambda run: (run.mkdir(), (run / records.PREDICTIVE).write_bytes(b"PK\x03\x04half")), "is damaged"),
        (lambda run: (run.mkdir(), np.savez(run / records.PREDICTIVE, probs_NC=np.ones(2))), "can't be plotted"),
        (lambda run: (synthetic_run(run), (run / records.PLOTS).write_text("")), "can't be written"),
    ],
)  # fmt: skip
def test_what_cannot_be_plotted_is_a_users_error_with_the_path(make, message, tmp_path):
    make(tmp_path / "run")
    with pytest.raises(UserError, match=message) as caught:
        plot(tmp_path / "run")
    assert str(tmp_path / "run") in str(caught.value)


def test_a_truncated_predictive_file_is_damaged(run, tmp_path):
    whole = (run / records.PREDICTIVE).read_bytes()
    (tmp_path / records.PREDICTIVE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        plot(tmp_path)


@pytest.mark.parametrize("chains", [1, 7])
def test_the_traces_of_chains_have_a_panel_for_each_quantity(tmp_path, chains):
    random = np.random.default_rng(0)
    names = ("log_posterior", "accuracy", "step_size", "accept", "divergent")
    arrays = {f"{name}_MT": random.random([chains, 50]) for name in names}
    arrays["divergent_MT"] = (arrays["divergent_MT"] < 0.05).astype(float)
    run = tmp_path / "run"
    run.mkdir()
    records.write_npz(run / records.CHAINS, arrays | {"first": np.array(0), "burn_in": np.array(20)})
    figure = plots.FIGURES["traces"].draw(run)
    assert [axes.get_title() for axes in figure.axes] == [
        "Log posterior", "Accuracy on the training part", "Step size", "Acceptance probability",
    ]  # fmt: skip
    assert all(axes.get_xlabel() == "trajectory" and axes.get_ylabel() for axes in figure.axes)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["burn-in", *(f"chain {chain}" for chain in range(chains))]


def recommended(run: Path, genres: list[str]) -> Path:
    """Write recommendations for a user on whom the draws agree, and for one on whom they do not."""
    counts = {"most ratings": [40, 8, 2], "fewest ratings": [6, 5, 5, 4, 4, *[2] * 13]}
    users = [
        {
            "user": str(number), "why": why, "num_ratings": 1234,
            "by_title": [{"title": f"title {i}", "count": count} for i, count in enumerate(its)],
            "by_genre": [{"genre": genre, "count": its[i]} for i, genre in enumerate(genres)],
        }
        for number, (why, its) in enumerate(counts.items())
    ]  # fmt: skip
    run.mkdir()
    records.write_json(run / records.RECOMMENDATIONS, {"num_draws": 50, "users": users})
    return run


@pytest.mark.parametrize("genres", [["Drama", "War"], []])
def test_recommendations_have_sorted_bars_and_one_scale(tmp_path, genres):
    figure = plots.FIGURES["recommendations"].draw(recommended(tmp_path / "run", genres))
    first, *_ = figure.axes
    assert len(figure.axes) == (4 if genres else 2)
    assert [bar.get_width() for bar in first.patches] == [40, 8, 2]
    spread = figure.axes[2 if genres else 1]
    assert [bar.get_width() for bar in spread.patches] == [6, 5, 5, 4, 4, 2, 2, 2, 20]
    assert [label.get_text() for label in spread.get_yticklabels()][-2:] == ["title 7", "10 other titles"]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert [axes.get_title("left") for axes in (first, spread)] == [
        "most ratings: user 0, 1,234 rated", "fewest ratings: user 1, 1,234 rated",
    ]  # fmt: skip


def test_long_titles_are_shortened_and_keep_their_year():
    assert recommendations.shortened("Short (1999)") == "Short (1999)"
    assert recommendations.shortened("A title that is, by far, too long (1999)") == "A title that is, by far, t… (1999)"
    assert len(recommendations.shortened("x" * 100)) == recommendations.LONGEST


def test_damaged_recommendations_are_named(tmp_path):
    (tmp_path / records.RECOMMENDATIONS).write_text("{}")
    with pytest.raises(UserError, match=r"recommendations\.json is damaged"):
        plot(tmp_path)
