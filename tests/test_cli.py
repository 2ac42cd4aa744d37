"""Bad input ends with exit code 2 and one line that says what is wrong and what to do; nothing is written.

The tests of --dry_run are here too.
"""

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import running

from bnn_hvd import cli, config, registry
from bnn_hvd.run.heartbeat import Heartbeat
from bnn_hvd.training.logbook import Logbook


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty directory, where the files of a run would be seen."""
    monkeypatch.chdir(tmp_path)
    for name in ("TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS"):  # main sets them for its process, which is that of the tests
        monkeypatch.setenv(name, "0" if name.startswith("TF") else "")
    return tmp_path


@pytest.fixture
def refused(here, capfd):
    """A function that runs a command, checks that it is refused and writes nothing, and returns the error line."""

    def run(*words: str) -> str:
        before = sorted(here.rglob("*"))
        code = cli.main(["bnn_hvd", *map(str, words)])
        written = capfd.readouterr()
        assert sorted(here.rglob("*")) == before
        return the_error(running.Outcome(code, written.out, written.err))

    return run


def the_error(outcome: running.Outcome) -> str:
    """Return the error line of a command, after checking that the user sees no other."""
    assert outcome.code == 2, outcome
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    lines = [line for line in outcome.stderr.splitlines() if "bnn_hvd" in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("bnn_hvd: error: "), lines
    return lines[0]


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--help"], 0), (["-h"], 0)])
def test_without_a_verb_the_verbs_are_printed_and_nothing_is_trained(here, capsys, words, code):
    assert cli.main(["bnn_hvd", *words]) == code
    printed = capsys.readouterr().out
    for name, verb in cli.VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.config_type.__doc__.splitlines()[0])}$", printed, re.MULTILINE)
    assert list(here.iterdir()) == []


class Pieces(io.RawIOBase):
    """A pipe that keeps every piece that is written to it."""

    def __init__(self):
        self.pieces: list[bytes] = []

    def writable(self):
        return True

    def write(self, piece):
        self.pieces.append(bytes(piece))
        return len(piece)


def test_a_line_reaches_a_launcher_in_one_piece(here, monkeypatch):
    """horovodrun marks every piece it reads with its rank; under PYTHONUNBUFFERED the end of a line was one more."""
    pipe = Pieces()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(pipe, write_through=True))
    cli.main(["bnn_hvd", "job", "slurm", "--nodes=0"])
    print("step", 1)
    logbook = Logbook.__new__(Logbook)
    logbook.quiet, logbook._heartbeat = False, Heartbeat(print)
    logbook.say("two\nlines")
    assert pipe.pieces == [b"step 1\n", b"two\n", b"lines\n"]


def test_a_quiet_loop_gives_a_sign_of_life(monkeypatch):
    now, said = [100.0], []
    monkeypatch.setattr("bnn_hvd.run.heartbeat.time.monotonic", lambda: now[0])
    heartbeat = Heartbeat(said.append)
    for now[0], text in ((109.0, "too early"), (110.0, "a"), (119.0, "too early"), (120.5, "b")):
        heartbeat.beat(text)
    heartbeat.said()
    now[0] = 130.0
    heartbeat.beat("too early, for something else was said")
    assert said == ["a", "b"]


def test_unknown_verb_with_the_list(refused):
    assert refused("trian").endswith(f"unknown verb 'trian'; known: {', '.join(cli.VERBS)}")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["--batchsize=32"], "batch_size"),
        (["train", "--learning_rat=1"], "learning_rate"),
        (["predict", "--num_drwas=3"], "num_draws"),
    ],
)
def test_unknown_flag_with_the_nearest(refused, words, nearest):
    message = refused(*words)
    assert words[-1].split("=")[0].strip("-") in message
    assert nearest in message.split("Did you mean", 1)[-1]


@pytest.mark.parametrize(
    ("flag", "known"),
    [
        ("--model=BNN_conv", registry.MODELS),
        ("--dataset=imagenet", registry.DATASETS),
        ("--architecture=rnn", registry.NETWORKS),
        ("--method=mcmc", registry.METHODS),
        ("--optimizer=lbfgs", ["adam", "sgd"]),
    ],
)
def test_unknown_name_with_the_list(refused, flag, known):
    name, value = flag.strip("-").split("=")
    assert refused("train", flag).endswith(f"unknown --{name} {value!r}; known: {', '.join(known)}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size=0"], "--batch_size=0 must be at least 1"),
        (["--batch_size=many"], "--batch_size=many must be a whole number"),
        (["--steps=1.5"], "--steps=1.5 must be a whole number"),
        (["--learning_rate=fast"], "--learning_rate=fast must be a number"),
        (["--verbose=maybe"], "--verbose=maybe must be true or false"),
        (["--epochs=2", "--steps=3"], "--epochs and --steps"),
        (["--seed=-1"], "--seed=-1 must be at least 0"),
        (["--model=CNN_FC", "--architecture=conv"], "contradicts --model=CNN_FC"),
        (["--steps=3", "more"], "'more' is not a flag"),
        (["--flagfile=missing.cfg"], "missing.cfg can't be read (No such file or directory)"),
        (["--flagfile=/"], "--flagfile=/ can't be read (Is a directory)"),
        (["--steps=3", "--flagfile"], "--flagfile has no value"),
        (["--flagfile="], "--flagfile has no value"),
        (["predict"], "--run is required"),
        (["plot"], "--run is required"),
        (["predict", "--run=x", "--num_draws=0"], "--num_draws=0 must be at least 1"),
    ],
)
def test_bad_flags(refused, words, message):
    assert message in refused(*words)


@pytest.mark.parametrize("content", [b"PK\x03\x04\xff\xfe data", b"text\0with zeros"])
def test_a_flagfile_that_is_no_text(refused, here, content):
    """--flagfile=mnist.npz, where --data_dir=mnist.npz was meant."""
    (here / "mnist.npz").write_bytes(content)
    assert f"--flagfile={here / 'mnist.npz'} can't be read (it is no text)" in refused("--flagfile=mnist.npz")


def test_a_flagfile_that_includes_itself(refused, here):
    (here / "a.cfg").write_text("--flagfile=b.cfg\n")
    (here / "b.cfg").write_text("--flagfile=a.cfg\n")
    assert f"{here / 'a.cfg'} includes itself, by {here / 'b.cfg'}" in refused("--flagfile=a.cfg")


def test_flagfiles_in_a_flagfile_are_beside_it(here):
    """Wherever the command is given; later flags win, and `~` is the home directory."""
    for folder in ("configs", "configs/common"):
        (here / folder).mkdir()
    (here / "configs" / "mine.cfg").write_text("# comment\n\n--seed=1\n  --flagfile=common/base.cfg\n--epochs=3\n")
    (here / "configs" / "common" / "base.cfg").write_text("--seed=2\n--epochs=2\n--flagfile=../more.cfg\n")
    (here / "configs" / "more.cfg").write_text("// comment\n--batch_size=5\n")
    (here / "more.cfg").write_text("--batch_size=7\n")  # of the working directory: not meant
    words = ["--flagfile=configs/mine.cfg", "--keep=4"]
    found = cli.parse(config.TrainConfig, words)
    assert (found.run.seed, found.run.epochs, found.data.batch_size, found.run.keep) == (2, 3, 5, 4)
    assert cli.parse(config.TrainConfig, ["--flagfile", str(here / "configs" / "mine.cfg"), "--keep=4"]) == found
    assert cli.parse(config.JobConfig, ["--flagfile=configs/new.cfg"]).flagfile == "configs/new.cfg"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_file_that_can_not_be_written_is_one_sentence(refused, monkeypatch, number):
    def forbidden(config: object) -> int:
        raise OSError(number, os.strerror(number), "runs/a/predictive.npz")

    monkeypatch.setattr("pkgutil.resolve_name", lambda name: forbidden)
    message = refused("predict", "--run=runs/a")
    assert f"{os.strerror(number)}: 'runs/a/predictive.npz': change the permissions" in message


def test_ctrl_c_has_no_traceback(here, monkeypatch, capfd):
    def pressed(config: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pkgutil.resolve_name", lambda name: pressed)
    assert cli.main(["bnn_hvd", "predict", "--run=runs/a"]) == 130
    assert capfd.readouterr().err == "bnn_hvd: interrupted; all files that were written are whole\n"


@pytest.mark.parametrize("verb", ["predict", "plot"])
def test_no_run_directory(refused, here, verb):
    assert str(here / "nowhere") in refused(verb, "--run=nowhere")
    (here / "empty").mkdir()
    message = refused(verb, "--run=empty")
    assert f"{here / 'empty'} is not a run directory" in message


def nan_at(shape, *index):
    x = np.zeros(shape, np.float32)
    x[index] = np.nan
    return x


IMAGES = {"x_train": np.zeros([96, 28, 28], np.uint8), "x_test": np.zeros([40, 28, 28], np.uint8)}
BAD_DATA = {  # --dataset, what is wrong with its file, what the error says
    "fractions": ("npz", {"y_train": np.arange(96) / 3}, "y_train has labels that are no whole numbers"),
    "stray": ("npz", {"y_train": np.arange(96)}, "96 different labels among 136 examples"),
    "eleventh": ("mnist", {**IMAGES, "y_test": np.full(40, 10)}, "y_test has the label 10, out of range"),
    "nan": ("npz", {"x_train": nan_at([96, 6], 5, 2)}, "x_train is NaN or infinite, first at index [5, 2]"),
    "nan_test": ("npz", {"x_test": nan_at([40, 6], 0, 0)}, "x_test is NaN or infinite"),
    "shapes": ("npz", {"x_test": np.zeros([40, 7], np.float32)}, "shape [6] but x_test has examples of shape [7]"),
    "counts": ("npz", {"y_train": np.zeros(95, np.int64)}, "96 examples but y_train has 95 labels"),
    "none": ("npz", {"x_train": np.zeros([0, 6], np.float32), "y_train": np.zeros(0, np.int64)}, "x_train is empty"),
    "words": ("npz", {"x_train": np.array([["a"] * 6] * 96)}, "no numbers"),
    "truncated": ("npz", lambda content: content[:-200], "truncated"),
    "flipped": ("npz", lambda content: content[:900] + bytes(64) + content[964:], "corrupt"),
    "text": ("npz", lambda content: b"no numbers here", "no .npz file"),
    "empty": ("npz", lambda content: b"", "no .npz file"),
    "missing_npz": ("npz", None, "does not exist: --dataset=npz needs --data_dir"),
    "missing_mnist": ("mnist", None, "does not exist: --dataset=mnist needs --data_dir"),
    "missing_cifar10": ("cifar10", None, "does not exist: --dataset=cifar10 needs --data_dir"),
}


def write_bad(path: Path, damage) -> None:
    if damage is not None:
        running.write_npz(path, **(damage if isinstance(damage, dict) else {}))
    if callable(damage):
        path.write_bytes(damage(path.read_bytes()))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Run, in one process, the dry runs and the commands that are refused only after TensorFlow has started."""
    folder = tmp_path_factory.mktemp("cli")
    small = running.write_npz(folder / "small.npz", num_train=31)
    wide = running.write_npz(folder / "wide.npz", num_features=9)
    good = running.write_npz(folder / "good.npz")
    (folder / "file").write_text("in the way")
    train = [
        "train", "--dataset=npz", "--architecture=fc", "--method=point", "--batch_size=32", "--steps=3", "--threads=1",
    ]  # fmt: skip
    train_good = [*train, f"--data_dir={good}"]
    (folder / "flags.cfg").write_text(
        "# comment\n--architecture=fc\n--seed=5\n--batch_size=32\n--steps=70\n--threads=1\n"
    )
    running.all_succeed(folder / "trained", [*train_good, f"--run={folder / 'run'}"])
    for name in ("empty", "none", "truncated", "half"):
        shutil.copytree(folder / "run", folder / name)
    shutil.rmtree(folder / "none" / "checkpoints")
    (folder / "half" / "data.json").unlink()
    for checkpoint in (folder / "empty" / "checkpoints").iterdir():
        checkpoint.unlink()
    for checkpoint in (folder / "truncated" / "checkpoints").iterdir():
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    commands: dict[str | Path, list[str]] = {
        "fewer": [*train, f"--data_dir={small}", f"--run={folder / 'new'}"],
        "unwritable": [*train_good, f"--run={folder / 'file' / 'below'}"],
        "other": [*train_good, f"--run={folder / 'run'}", "--seed=1", "--batch_size=16"],
        "empty": ["predict", f"--run={folder / 'empty'}", "--threads=1"],
        "none": ["predict", f"--run={folder / 'none'}", "--threads=1"],
        "truncated": ["predict", f"--run={folder / 'truncated'}", "--threads=1"],
        "half": ["predict", f"--run={folder / 'half'}", "--threads=1"],
        "wide": ["predict", f"--run={folder / 'run'}", f"--data_dir={wide}", "--threads=1"],
        "dry": [f"--flagfile={folder / 'flags.cfg'}", "--dry_run", f"--run={folder / 'new'}"],
        "dry_point": [*train_good, "--dry_run", f"--run={folder / 'new'}"],
        "dry_fewer": [*train, f"--data_dir={small}", f"--run={folder / 'new'}", "--dry_run"],
    }
    for name, (dataset, damage, _) in BAD_DATA.items():
        path = folder / f"{name}.npz"
        write_bad(path, damage)
        commands[path] = ["--threads=1", f"--dataset={dataset}", f"--data_dir={path}", f"--run={folder / 'new'}"]
    before = state(folder)
    outcomes = running.several(folder / "outcomes", *commands.values())
    after = {path: content for path, content in state(folder).items() if folder / "outcomes" not in path.parents}
    return folder, {name: ranks[0] for name, ranks in zip(commands, outcomes, strict=True)}, before, after


def state(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_refused_and_dry_runs_write_nothing(job):
    _, _, before, after = job
    assert before == after


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_that_can_not_be_trained_on(job, name):
    """The error names the full path of the file and says what is wrong in it."""
    folder, outcome, *_ = job
    error = the_error(outcome[folder / f"{name}.npz"])
    assert BAD_DATA[name][-1] in error
    assert str(folder / f"{name}.npz") in error


@pytest.mark.parametrize("name", ["fewer", "dry_fewer"])
def test_fewer_examples_than_a_global_batch(job, name):
    error = the_error(job[1][name])
    assert "31 training examples are fewer than 1 ranks x batch size 32" in error
    assert "lower --batch_size to at most 31" in error


def test_run_directory_that_can_not_be_written(job):
    folder, outcome, *_ = job
    assert f"{folder / 'file' / 'below'} can't be written" in the_error(outcome["unwritable"])


def test_run_directory_of_another_configuration(job):
    folder, outcome, *_ = job
    error = the_error(outcome["other"])
    assert "(--seed: 0 there, 1 here; --batch_size: 32 there, 16 here)" in error
    assert f"`train --run={folder / 'run'}` without these flags" in error
    assert "another --run" in error


@pytest.mark.parametrize("name", ["empty", "none"])
def test_predict_without_a_checkpoint(job, name):
    folder, outcome, *_ = job
    error = the_error(outcome[name])
    assert f"{folder / name / 'checkpoints'} has no readable checkpoint" in error
    assert "run `train`" in error


def test_predict_with_an_unreadable_checkpoint(job):
    folder, outcome, *_ = job
    truncated = outcome["truncated"]
    warning = next(line for line in truncated.stderr.splitlines() if line.startswith("bnn_hvd: warning"))
    assert "does not match the checksum in its name" in warning
    rest = truncated._replace(stderr=truncated.stderr.replace(warning + "\n", ""))
    assert f"{folder / 'truncated' / 'checkpoints'} has no readable checkpoint" in the_error(rest)


def test_predict_with_a_run_that_lacks_a_file(job):
    folder, outcome, *_ = job
    assert f"{folder / 'half'}" in the_error(outcome["half"])


def test_predict_with_data_of_another_shape(job):
    assert "wide.npz has examples of shape [9], the run was trained on [6]" in the_error(job[1]["wide"])


def test_dry_run_prints_the_plan(job):
    """A command without a verb, which means `train`, and with a flagfile."""
    outcome = job[1]["dry"]
    assert outcome.code == 0
    printed = outcome.stdout
    for flag in (
        "architecture=fc",
        "method=vi",
        "estimator=flipout",
        "dataset=digits",
        "seed=5",
        "steps=70",
        "threads=1",
    ):
        assert f"--{flag}\n" in printed
    weights, bayesian = 64 * 64 + 64 + 64 * 10 + 10, 64 * 64
    assert re.search(rf"^weights +{weights} \({bayesian} with a distribution\)$", printed, re.MULTILINE)
    assert re.search(rf"^trained parameters +{weights + bayesian}$", printed, re.MULTILINE)
    assert re.search(r"^steps +70 \(44 per epoch\)$", printed, re.MULTILINE)
    assert re.search(r"^bytes all-reduced per step +0$", printed, re.MULTILINE)  # one rank
    assert json.dumps("dense1/kernel")[1:-1] in printed
    assert "Bayesian" in printed


def test_dry_run_of_a_point_network_speaks_of_no_distribution(job):
    outcome = job[1]["dry_point"]
    assert outcome.code == 0
    assert re.search(rf"^weights +{6 * 64 + 64 + 64 * 3 + 3}$", outcome.stdout, re.MULTILINE)
    assert "Bayesian" not in outcome.stdout
    assert "deterministic " not in outcome.stdout


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "bnn_hvd", "train", "--help"]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=running.REPOSITORY)
    job.stdout.close()
    assert job.stderr.read() == b""
    assert job.wait() == 0


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_help_of_a_verb_begins_with_what_it_does(verb):
    lines = cli.help_text(verb).partition("\nverbs: ")[0].splitlines()
    assert lines[0].startswith(f"python -m bnn_hvd {verb} --flags     ")
    assert lines == [line.strip() for line in lines]  # without the indentation of the code
