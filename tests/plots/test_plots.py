"""The figures are drawn from files alone, are readable and have labelled axes; errors are clear."""

import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text

from bnn_hvd import plots
from bnn_hvd.config import PlotConfig
from bnn_hvd.errors import UserError
from bnn_hvd.metrics import classification, detection
from bnn_hvd.plots import churn, predictive, recommendations, training
from bnn_hvd.run import records

FROM_TRAIN = ["learning_curves", "weight_posteriors"]
FROM_PREDICT = [
    "predictive_draws_confident", "predictive_draws_doubtful", "reliability", "uncertainty_histogram", "risk_coverage",
]  # fmt: skip
FROM_OOD = ["out_of_distribution"]
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
    files = [run / records.PLOTS / f"{name}.png" for name in FROM_TRAIN + FROM_PREDICT + FROM_OOD]
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
    assert list(figures) == FROM_TRAIN + FROM_PREDICT + FROM_OOD * bool(CASES[case].get("ood"))
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
        area = detection.auroc(arrays[f"{name}_N"], arrays[f"ood_{name}_M"])
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
    assert len(list((tmp_path / records.PLOTS).glob("*.png"))) == len(FROM_PREDICT + FROM_OOD)


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
    marked = ["divergent"] * bool(arrays["divergent_MT"].any())
    assert labels == ["burn-in", *(f"chain {chain}" for chain in range(chains)), *marked]


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


def metrics_run(run: Path, rows: list[dict]) -> Path:
    run.mkdir()
    records.append_jsonl(run / records.METRICS, *rows)
    return run


@pytest.mark.parametrize("num_rows", [1, 2, 20, 90, 1000])
def test_learning_curves_show_every_row_from_the_first_on(num_rows, tmp_path):
    """A curve that rises fast at first keeps its first rows on the axis, also where it is drawn as a running mean."""
    epochs = np.arange(1, num_rows + 1) / 10
    rows = [
        {"kind": kind, "step": i, "epoch": epoch, "nll": 3 * np.exp(-epoch), "accuracy": 1 - 0.9 * np.exp(-9 * epoch)}
        for i, epoch in enumerate(epochs)
        for kind in ("train", "eval")
    ]  # fmt: skip
    figure = training.learning_curves(metrics_run(tmp_path / "run", rows))
    for axes, key in zip(figure.axes, ("nll", "accuracy"), strict=True):
        low, high = axes.get_ylim()
        labelled = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
        assert len(labelled) == 2
        for line in labelled:
            values = np.asarray(line.get_ydata())
            assert (line.get_xdata()[[0, -1]] == epochs[[0, -1]]).all()
            assert values[[0, -1]] == pytest.approx([rows[0][key], rows[-1][key]], abs=1e-9)
            assert low < values.min()
            assert values.max() < high


def test_the_running_mean_of_a_line_is_the_line_and_that_of_noise_is_the_mean_of_its_window():
    line = 3.0 - 2.0 * np.arange(101)
    np.testing.assert_allclose(training.running_mean(line, 7), line, atol=1e-9)
    noise = np.random.default_rng(0).normal(size=50)
    assert training.running_mean(noise, 3)[20] == pytest.approx(noise[17:24].mean())
    np.testing.assert_array_equal(training.running_mean(noise, 0), noise)


def posterior_run(run: Path, snapshots: list[dict[str, np.ndarray]]) -> Path:
    """Write a run whose files of weights, one per epoch from 0 on, have the histograms of these values."""
    (run / records.POSTERIOR).mkdir(parents=True)
    for epoch, values in enumerate(snapshots):
        records.append_jsonl(run / records.METRICS, {"kind": "eval", "step": 10 * epoch, "epoch": epoch})
        arrays = {}
        for name, value in values.items():
            arrays[f"{name}_counts"], arrays[f"{name}_edges"] = np.histogram(value, 80)
        records.write_npz(run / records.POSTERIOR / f"step_{10 * epoch:08d}.npz", arrays)
    return run


def test_equal_standard_deviations_are_a_line_where_they_are(tmp_path):
    rng = np.random.default_rng(0)
    loc = rng.normal(0, 0.1, 144)
    scales = [np.full(144, 0.01, np.float32), rng.normal(0.012, 0.0002, 144), rng.normal(0.015, 0.0004, 144)]
    run = posterior_run(tmp_path / "run", [{"conv/kernel/loc": loc, "conv/kernel/scale": scale} for scale in scales])
    axes = training.weight_posteriors(run).axes[1]
    first = axes.get_lines()[0]
    assert np.ptp(first.get_xdata()) == 0
    assert first.get_xdata()[0] == pytest.approx(0.01)
    low, high = axes.get_xlim()
    assert 0.009 < low < 0.01
    assert 0.0155 < high < 0.018


def test_the_legend_of_weights_has_the_colours_of_every_panel(tmp_path):
    """Methods that collect moments late have no deviations at first: the same epoch has the same colour everywhere."""
    rng = np.random.default_rng(0)
    snapshots = [{"fc/kernel/loc": rng.normal(0, 1, 400)} for _ in range(5)]
    for late in snapshots[3:]:
        late["fc/kernel/scale"] = rng.gamma(2, 1, 400)
    figure = training.weight_posteriors(posterior_run(tmp_path / "run", snapshots))
    legend = {text.get_text(): line.get_color() for text, line in
              zip(figure.legends[0].get_texts(), figure.legends[0].get_lines(), strict=True)}  # fmt: skip
    assert list(legend) == [f"epoch {epoch}" for epoch in range(5)]
    colours = [[to_hex(line.get_color()) for line in axes.get_lines()] for axes in figure.axes]
    assert colours == [list(legend.values()), list(legend.values())[3:]]


def test_small_epistemic_uncertainty_is_spread_over_many_bins(tmp_path):
    """Uncertainties differ by orders of magnitude: each part keeps its own shape on the axis they share."""
    rng = np.random.default_rng(0)
    expected, mutual = rng.lognormal(-2, 1.5, 1000), rng.lognormal(-8, 1, 1000)
    arrays = {"expected_entropy_N": expected, "mutual_information_N": mutual, "predictive_entropy_N": expected + mutual}
    records.write_npz(tmp_path / records.PREDICTIVE, arrays)
    figure = plots.FIGURES["uncertainty_histogram"].draw(tmp_path)
    for patch in figure.axes[0].patches:
        values = patch.get_data().values
        assert values.sum() == pytest.approx(1)
        assert values.max() < 0.5
        assert np.count_nonzero(values) >= 8


def test_without_epistemic_uncertainty_the_legend_says_so(tmp_path):
    expected = np.random.default_rng(0).gamma(1, 1, 100)
    arrays = {
        "expected_entropy_N": expected,
        "mutual_information_N": np.full(100, -1e-8),
        "predictive_entropy_N": expected,
    }
    records.write_npz(tmp_path / records.PREDICTIVE, arrays)
    figure = plots.FIGURES["uncertainty_histogram"].draw(tmp_path)
    assert "epistemic, 0 everywhere" in texts(figure)
    assert len(figure.axes[0].patches) == 2


def test_a_written_sum_of_uncertainties_is_right_as_written():
    for aleatoric, epistemic in np.random.default_rng(0).uniform(0, 3, (1000, 2)):
        total, parts = predictive.sum_of_parts(aleatoric, epistemic).split(" = ")
        words = parts.split()
        assert round(float(words[0]) + float(words[3]), 3) == float(total)
        assert float(total) == pytest.approx(aleatoric + epistemic, abs=0.00101)


def test_confident_predictions_show_the_small_probabilities_of_the_other_classes(tmp_path, monkeypatch):
    """Without a logarithmic axis all of these panels are the same: one bar at 1, and nine at 0."""

    def sharp(rng, num_draws, num_examples, num_classes, signal):
        labels_N = rng.integers(num_classes, size=num_examples)
        logits_NC = rng.normal(0, 2, (num_examples, num_classes))
        logits_NC[np.arange(num_examples), labels_N] = 12
        probs_SNC = np.exp(logits_NC + rng.normal(0, 0.1, (num_draws, num_examples, num_classes)))
        return (probs_SNC / probs_SNC.sum(-1, keepdims=True)).astype(np.float32), labels_N

    monkeypatch.setattr(sys.modules[__name__], "_draws", sharp)
    figure = drawn(synthetic_run(tmp_path / "run"), monkeypatch)["predictive_draws_confident"]
    for axes in figure.axes[1::2]:
        bars = [c.get_segments()[0][0] for c in axes.collections if isinstance(c, LineCollection)]
        height = axes.transAxes.inverted().transform(axes.transData.transform(bars))[:, 1]
        assert len(np.unique(height.round(2))) >= 5


def test_bars_of_200_unlikely_classes_are_above_the_axis(tmp_path, monkeypatch):
    def flat(rng, num_draws, num_examples, num_classes, signal):
        probs_SNC = rng.uniform(0.9, 1.1, (num_draws, num_examples, num_classes))
        return (probs_SNC / probs_SNC.sum(-1, keepdims=True)).astype(np.float32), np.arange(num_examples) % num_classes

    monkeypatch.setattr(sys.modules[__name__], "_draws", flat)
    figures = drawn(synthetic_run(tmp_path / "run", num_classes=200), monkeypatch)
    for axes in figures["predictive_draws_doubtful"].axes[1::2]:
        bars = [c.get_segments()[0][0] for c in axes.collections if isinstance(c, LineCollection)]
        height = axes.transAxes.inverted().transform(axes.transData.transform(bars))[:, 1]
        assert height.min() > 0.25


def curve_arrays(mean_G: np.ndarray, aleatoric: float, epistemic_G: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    grid, x = np.linspace(-12, 12, len(mean_G)), rng.uniform(-1.5, 1.5, 200)
    return {
        "x_train_T": x, "y_train_T": np.sin(x) + 0.1 * rng.normal(size=200), "grid_x_G": grid, "grid_mean_G": mean_G,
        "grid_truth_G": np.sin(grid), "grid_aleatoric_std_G": np.full(len(grid), aleatoric),
        "grid_epistemic_std_G": epistemic_G, "grid_total_std_G": np.hypot(aleatoric, epistemic_G),
        "grid_draws_SG": mean_G + epistemic_G * rng.normal(size=(8, 1)), "pit_N": x, "mean_N": x, "y_N": x,
        "total_std_N": x,
    }  # fmt: skip


GRID = np.linspace(-12, 12, 101)
CURVES = {
    "wild": (-0.3 * GRID**2, 0.1, 0.01 + 0.05 * GRID**4),
    "tilted": (0.4 * GRID, 0.3, 0.02 * np.abs(GRID)),
    "flat": (np.zeros(101), 0.3, np.full(101, 0.01)),
    "one_particle": (np.sin(GRID), 0.1, np.zeros(101)),
}


@pytest.mark.parametrize("case", CURVES)
def test_a_curve_shows_the_data_in_the_middle_and_no_line_crosses_a_legend(case, tmp_path):
    arrays = curve_arrays(*CURVES[case])
    records.write_npz(tmp_path / records.PREDICTIVE, arrays)
    figure = plots.FIGURES["curve"].draw(tmp_path)
    upper, lower = figure.axes
    low, high = upper.get_ylim()
    visible = np.concatenate([arrays["y_train_T"], arrays["grid_truth_G"]])
    assert low < visible.min() < visible.max() < high
    assert high - low <= 4.001 * np.ptp(visible)  # else the data are a flat line
    middle = (visible.min() + visible.max()) / 2
    assert low + 0.25 * (high - low) < middle < high - 0.25 * (high - low)
    FigureCanvasAgg(figure).draw()
    for axes in (upper, lower):
        assert axes.get_legend().get_window_extent().x0 >= axes.bbox.x1
    for name in ("aleatoric", "epistemic"):  # the larger end of each part is inside, and not on the axis
        top = lower.transAxes.inverted().transform(
            lower.transData.transform((0, arrays[f"grid_{name}_std_G"].max())))[1]  # fmt: skip
        assert top < 1
        assert top > 0.02 or not arrays[f"grid_{name}_std_G"].any()


def test_bars_by_class_are_of_the_classes_with_the_most_churn(tmp_path):
    classes = [{"group": str(i), "churn": (7 * i % 200) / 200, "accuracy_spread": 0.1} for i in range(200)]
    row = {"method": "point", "regime": "init", "learning_rate": 0.1, "classes": classes}
    records.write_json(tmp_path / records.CHURN, [row])
    figure = churn.classes(tmp_path)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sorted(heights) == sorted(part["churn"] for part in classes)[-20:]
    assert [axes.get_xlabel() for axes in figure.axes] == ["classes: the 20 with the most churn"] * 2
