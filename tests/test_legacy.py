"""A flagfile of the original scripts gives the same run here as there."""

import os
from types import SimpleNamespace

import pytest

from bnn_hvd import cli, config, legacy
from bnn_hvd.errors import UserError

# Blanks at the ends of lines, and quotes, are in the files of users too.
MNIST = """\
# MNIST
--UseEpoch=True \n--batch_size=32 \t
--bnnConv=BNN_FC_nonflip
--cnnConv= 'CNN_Conv'
--data_dir='data/mnist.npz'
--epochs=7 \n--iteration=8000
--kmp_affinity='granularity=fine,verbose,compact,1,0'
--kmp_blocktime=0
--learning_rate=0.002
--model_data=./out/  \n--model_type=BNN
--num_inter=1
--num_intra=4
--print_step=20
--verbose=True
"""
CIFAR = """\
--DATA_PATH=data/cifar-10-batches-py  \n--model_dir=./results/cifar/
--DATA_NAME=CIFAR-10
--verbose=False
--num_monte_carlo=20
--batch_size=96
--USE_EPOCH=True \n--plotting=False
--epochs=3
--eval_freq=50
--learning_rate=0.0005
--iterations=1001
--kl_regularizer=0.5
--print_step=5
--subtract_pixel_mean=False
--num_intra=2
--num_inter=1
"""
MNIST_FIELDS = {
    "run": "out/Result_BNN_ConvFlag_BNN_FC_nonflip", "epochs": 7, "model": "BNN_FC_nonflip", "dataset": "mnist",
    "data_dir": "data/mnist.npz", "batch_size": 32, "learning_rate": 0.002, "lr_scaling": "linear", "threads": 4,
    "log_every_steps": 20, "verbose": True,
}  # fmt: skip
CIFAR_FIELDS = {
    "run": "./results/cifar/", "epochs": 3, "model": "CIFAR10_BNN_model", "dataset": "cifar10",
    "data_dir": "data/cifar-10-batches-py", "standardize": "channel", "batch_size": 96, "kl_weight": 0.5,
    "learning_rate": 0.0005, "lr_scaling": "linear", "threads": 2, "eval_draws": 20, "log_every_steps": 5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def launched(monkeypatch):
    """Pretend that there is no launcher, and restore the environment afterwards.

    The value is a function that pretends that a launcher has started `size` ranks.
    """
    for variable in legacy.ENVIRONMENT.values():
        monkeypatch.setenv(variable, "before")
        monkeypatch.delenv(variable)

    def as_rank(size, rank=0, by_launcher=True):
        monkeypatch.setattr(legacy.launcher, "world_size", lambda: size)
        monkeypatch.setattr(legacy.launcher, "world_rank", lambda: rank)
        monkeypatch.setattr(legacy.launcher, "started_by_launcher", lambda: by_launcher)

    as_rank(None, by_launcher=False)
    return as_rank


@pytest.fixture
def parse(tmp_path):
    def run(text, *more):
        path = tmp_path / "old.cfg"
        path.write_text(text)
        return SimpleNamespace(**config.to_flags(cli.parse(config.TrainConfig, [f"--flagfile={path}", *more])))

    return run


def fields(**values):
    return config.to_flags(config.resolve(**values))


@pytest.mark.parametrize("ranks", [None, 1, 4])
@pytest.mark.parametrize(("text", "expected"), [(MNIST, MNIST_FIELDS), (CIFAR, CIFAR_FIELDS)])
def test_every_field_by_epochs(parse, launched, ranks, text, expected):
    launched(ranks, by_launcher=ranks is not None)
    parsed = parse(text)
    assert vars(parsed) == fields(**expected)
    assert parsed.steps is None


@pytest.mark.parametrize(("ranks", "mnist_steps", "cifar_steps"), [(None, 8000, 1001), (1, 8000, 1001), (4, 2000, 250)])
def test_every_field_by_iterations(parse, launched, ranks, mnist_steps, cifar_steps):
    launched(ranks, by_launcher=ranks is not None)
    mnist = parse(MNIST.replace("UseEpoch=True", "UseEpoch=False"))
    assert vars(mnist) == fields(**MNIST_FIELDS | {"epochs": None, "steps": mnist_steps})
    cifar = parse(CIFAR.replace("USE_EPOCH=True", "USE_EPOCH=False"))
    assert vars(cifar) == fields(**CIFAR_FIELDS | {"epochs": None, "steps": cifar_steps})
    assert cifar.architecture == "vgg3"


def test_model_type_chooses_between_the_two(parse):
    parsed = parse(MNIST.replace("model_type=BNN", "model_type=CNN"))
    run = "out/Result_CNN_ConvFlag_CNN_Conv"
    assert vars(parsed) == fields(**MNIST_FIELDS | {"model": "CNN_conv", "run": run})


@pytest.mark.parametrize(
    ("flag", "model"),
    [(f"--bnnConv={name}", name) for name in ("BNN_conv_flip", "BNN_FC_flip", "BNN_conv_nonflip", "BNN_FC_nonflip")]
    + [("--cnnConv=CNN_conv", "CNN_conv"), ("--cnnConv=CNN_FC", "CNN_FC"), ("--cnnConv=CNN_Conv", "CNN_conv")],
)
@pytest.mark.parametrize("spelling", ["model_type", "Model_type"])
def test_models(parse, flag, model, spelling):
    assert parse(f"--{spelling}={model[:3]}\n{flag}\n").model == model


def test_flags_left_out_have_the_defaults_of_their_script(parse):
    assert vars(parse("--model_type=BNN\n")) == fields(
        run="results/Result_BNN_ConvFlag_BNN_conv_flip", epochs=10, model="BNN_conv_flip", dataset="mnist",
        lr_scaling="linear", log_every_steps=10,
    )  # fmt: skip
    assert vars(parse("--DATA_NAME=CIFAR-10\n")) == fields(
        run="results/bayesian_neural_network", steps=100, model="CIFAR10_BNN_model", dataset="cifar10",
        standardize="pixel", batch_size=128, learning_rate=1e-4, lr_scaling="linear", eval_draws=80,
        log_every_steps=10, kl_weight=1.0,
    )  # fmt: skip
    assert parse("--USE_EPOCH\n").epochs == 700


@pytest.mark.parametrize(
    ("flag", "steps"),
    [("--UseEpoch", None), ("--noUseEpoch", 8000), ("-noUseEpoch", 8000)]
    + [(f"--UseEpoch={word}", None) for word in ("True", "true", "1", "t")]
    + [(f"--UseEpoch={word}", 8000) for word in ("False", "false", "0", "f")],
)
def test_spellings_of_bools(parse, flag, steps):
    parsed = parse("", flag)
    assert (parsed.steps, parsed.epochs) == (steps, None if steps else 10)


@pytest.mark.parametrize(
    ("words", "compression"),
    [(["--compression"], "fp16"), (["--nocompression"], "none"), (["-compression"], "fp16"), ([], "none")]
    + [([f"--compression={word}"], "fp16") for word in ("True", "true", "1", " 'True' ")]
    + [([f"--compression={word}"], "none") for word in ("False", "f", "0")]
    + [(["--compression=fp16"], "fp16"), (["--compression", "fp16"], "fp16"), (["--compression=NONE"], "none")]
    + [(["--nocompression", "--compression=fp16"], "fp16"), (["--compression=none", "--compression"], "none")],
)
@pytest.mark.parametrize("text", [MNIST, CIFAR, ""])
def test_compression_in_the_old_spelling_and_in_the_new_one(parse, text, words, compression):
    """--compression belongs to no one script, so it may stand beside new flags; its new spelling takes precedence."""
    parsed = parse(text, *words, "--seed=3")
    assert vars(parsed) == vars(parse(text, "--seed=3")) | {"compression": compression}


def test_two_words_and_one_dash(parse):
    parsed = parse("", "--noUseEpoch", "--iteration", "50", "-epochs", "3", "--seed", "4", "--data_dir", "a b.npz")
    assert (parsed.steps, parsed.epochs, parsed.seed, parsed.data_dir) == (50, None, 4, "a b.npz")


def test_fewer_iterations_than_ranks_are_one_step(parse, launched):
    launched(4)
    assert parse("--noUseEpoch\n--iteration=3").steps == 1


def test_new_flags_win(parse):
    assert parse(MNIST, "--run=r", "--model=CNN_FC", "--batch_size=8").run == "r"
    assert parse(MNIST, "--run=r", "--model=CNN_FC", "--batch_size=8").model == "CNN_FC"
    assert parse(MNIST, "--batch_size=8").batch_size == 8
    assert parse(CIFAR, "--data_dir=other").data_dir == "other"
    for text in (MNIST, CIFAR):
        assert parse(text, "--steps", "5").steps == 5


def test_flags_of_both_scripts_alone_choose_no_model(parse):
    assert vars(parse("", "--print_step=3", "--epochs=2")) == fields(log_every_steps=3, epochs=2)
    with pytest.raises(UserError, match="both"):
        parse("", "--print_step=3", "--epochs=2", "--steps=5")


@pytest.mark.parametrize(
    "plain",
    [
        [],
        ["--model=BNN_FC_flip", "--dataset", "mnist", "--epochs=2", "--data_dir='x' ", "--verbose", "--noverbose"],
        ["--compression", "fp16", "--compression=none", "--seed=2"],
        ["--batch_size", "8", "--data_dir=", "--learning_rate=0.1 ", "--", "--UseEpoch_"],
        ["--useepoch=False", "--Iteration=3", "--epochs"],
    ],
)
def test_a_new_list_is_unchanged(plain, capsys):
    before = list(plain)
    assert legacy.translate(plain) == before
    assert capsys.readouterr().err == ""


def test_no_old_name_is_a_new_flag():
    new = {name for verb in cli.VERBS.values() for name in config.flags_of(verb.config_type)}
    assert not legacy.OLD_ONLY & new
    assert set(legacy.NEW_TOO) <= new


def test_openmp_settings_go_to_the_environment(parse, monkeypatch):
    monkeypatch.setenv("KMP_BLOCKTIME", "7")
    parse(MNIST)
    assert os.environ["KMP_AFFINITY"] == "granularity=fine,verbose,compact,1,0"
    assert os.environ["KMP_BLOCKTIME"] == "7"  # what the user has set is kept


def test_rank_0_tells_the_new_flags_in_one_line(parse, launched, capsys):
    parse("--num_intra=4\n--num_inter=2\n--epochs=3\n--compression")
    line = capsys.readouterr().err
    assert line == (
        "bnn_hvd: old flags translated: --num_intra=4 --num_inter=2 --compression=True -> --threads=4 "
        "--compression=fp16; --num_inter has no effect: follows --threads\n"
    )
    assert line.count("\n") == 1
    assert "--epochs" not in line
    launched(2)
    parse("--UseEpoch=False\n--iteration=8000\n")
    line = capsys.readouterr().err
    assert line.startswith("bnn_hvd: old flags translated: --UseEpoch=False --iteration=8000 -> ")
    assert "--steps=4000" in line
    launched(2, rank=1)
    parse(MNIST)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model_type=RNN"], "unknown --model_type 'RNN'; known: BNN, CNN"),
        (["--bnnConv=BNN_x"], "unknown --bnnConv 'BNN_x'; known: BNN_FC_flip, BNN_FC_nonflip, BNN_conv_flip"),
        (["--bnnConv=CNN_FC"], "unknown --bnnConv"),
        (["--model_type=CNN", "--cnnConv=CNN_x"], "unknown --cnnConv 'CNN_x'; known: CNN_conv, CNN_FC"),
        (["--DATA_NAME=CIFAR-100"], "unknown --DATA_NAME 'CIFAR-100'; known: CIFAR-10"),
        (["--UseEpoch=maybe"], "unknown value of --UseEpoch 'maybe'; known: true"),
        (["--noUseEpoch", "--iteration=1e3"], "--iteration=1e3 is not a whole number"),
        (["--noUseEpoch", "--iteration=0"], "--steps=0 must be at least 1"),
        (["--noUseEpoch", "--iteration=-9"], "must be at least 1"),
        (["--kl_regularizer=x"], "--kl_regularizer=x is not a number"),
        (["--kl_regularizer=nan"], "kl_weight"),
        (["--noUseEpoch", "--iteration"], "--iteration has no value"),
        (["--model_data= "], "--model_data has no value"),
        (["--DATA_PATH=x", "--model_type=BNN"], "--model_type is of the old MNIST script, --DATA_PATH of the CIFAR-10"),
        (["--model_type=BNN", "--Epochs=3"], "Epochs"),
        (["--noUseEpoch=True"], "noUseEpoch"),
        (["--nocompression=True"], "nocompression"),
        (["--compression=bf16"], "unknown --compression 'bf16'; known: none, fp16"),
        (["--UseEpoch", "--compression=maybe"], "unknown --compression 'maybe'"),
    ],
)
def test_bad_values(flags, message):
    with pytest.raises(UserError) as error:
        cli.parse(config.TrainConfig, flags)
    assert message in str(error.value)


def test_iterations_need_the_number_of_ranks(parse, launched):
    launched(None)  # aprun tells the rank, but not how many there are
    with pytest.raises(UserError, match="give --steps"):
        parse("--noUseEpoch")
    assert parse("--noUseEpoch", "--steps=9").steps == 9
    assert parse("--UseEpoch").epochs == 10


def test_kl_is_cut_off_at_1_and_evaluation_can_be_off(parse):
    parsed = parse("--kl_regularizer=3\n--eval_freq=0\n")
    assert (parsed.kl_weight, parsed.eval_every_epochs) == (1.0, 0)
