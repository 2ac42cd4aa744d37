"""Flags, their defaults and contradictions, config.cfg, and the help; all without TensorFlow."""

import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bnn_hvd import cli, config, registry
from bnn_hvd.config import PlotConfig, PredictConfig, TrainConfig
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.errors import UserError

REPOSITORY = Path(__file__).parents[2]
FIELDS = config.train_flags()


def resolve(**flags) -> SimpleNamespace:
    """Return the resolved value of each flag."""
    return SimpleNamespace(**config.to_flags(config.resolve(**flags)))


def test_what_is_left_open_is_filled_in():
    resolved = resolve()
    assert (resolved.architecture, resolved.method, resolved.estimator) == ("conv", "vi", "flipout")
    assert (resolved.epochs, resolved.steps) == (10, None)
    assert resolved.model == "BNN_conv_flip"
    assert resolved.run == "runs/digits_BNN_conv_flip"
    assert resolve(**vars(resolved)) == resolved


def test_steps_leave_the_epochs_open():
    assert (resolve(steps=7).epochs, resolve(steps=7).steps) == (None, 7)


def test_the_only_layer_of_a_network_is_bayesian():
    assert resolve(architecture="linear").bayesian_layers == "all"


def test_chains_are_particles_and_keep_the_second_half():
    chains = resolve(method="hmc", num_chains=3, steps=100, hmc_keep_every_steps=5)
    assert (chains.num_particles, chains.hmc_burn_in_steps, chains.hmc_kept_draws) == (3, 50, 10)
    assert resolve(method="hmc").num_chains == resolve(method="hmc").num_particles == 1
    one, longer = (config.resolve(**vars(chains) | {"model": "", "steps": steps}) for steps in (100, 200))
    assert config.differences(one, longer) == []  # a finished run may take more steps: the last draws are kept


@pytest.mark.parametrize("name", registry.MODELS)
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_a_model_is_short_for_its_row(name, spelling):
    resolved = resolve(model=spelling(name))
    assert resolved.model == name
    assert {key: getattr(resolved, key) for key in registry.MODELS[name]} == registry.MODELS[name]
    # With the model's weight of the KL, the flags of the row give the model its name.
    assert resolve(**registry.MODELS[name], **registry.MODEL_DEFAULTS.get(name, {})) == resolved


def test_flags_without_a_model_make_a_name():
    assert resolve(architecture="vgg3", method="point").model == "vgg3_point"
    assert resolve(architecture="fc", estimator="local_reparam").model == "fc_vi_local_reparam"


def test_a_model_and_the_same_flag_agree_and_another_one_contradicts():
    assert resolve(model="CNN_FC", architecture="FC") == resolve(model="CNN_FC")
    with pytest.raises(UserError, match=r"--architecture=conv contradicts --model=CNN_FC.*--architecture=fc"):
        resolve(model="cnn_fc", architecture="conv")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"epochs": 2, "steps": 3}, "--epochs and --steps"),
        ({"momentum": 1.0}, "--momentum=1.0 must be below 1"),
        ({"num_chains": 2}, "--num_chains=2 is of --method=hmc, not of vi: leave it out"),
        ({"method": "hmc", "num_chains": 2, "num_particles": 3}, "--num_chains=2 and --num_particles=3 mean the same"),
        ({"method": "hmc", "kl_weight": 0.5}, "--kl_weight=0.5 is not used by --method=hmc: leave it out"),
        ({"method": "hmc", "compression": "fp16"}, "--compression=fp16 is not used by --method=hmc: leave it out"),
        ({"gradient_blocks": 6}, "--gradient_blocks=6 must be a power of two"),
        ({"gradient_blocks": 4}, "--lr_scaling=linear does not: give --lr_scaling=none"),
        ({"gradient_blocks": 4, "lr_scaling": "none", "compression": "fp16"}, "--compression=fp16 does not"),
        ({"gradient_blocks": 4, "method": "ensemble"}, "--gradient_blocks=4 is not used by --method=ensemble"),
        ({"gradient_blocks": 4, "num_particles": 3}, "changes nothing with --num_particles=3: leave one of the two"),
        ({"method": "hmc", "steps": 9, "hmc_burn_in_steps": 9}, "none is kept: raise --steps"),
    ],
)
def test_contradictions(flags, message):
    with pytest.raises(UserError, match=message):
        resolve(**flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"batch_size": 0}, "--batch_size=0 must be at least 1"),
        ({"epochs": 0}, "--epochs=0 must be at least 1"),
        ({"steps": -1}, "--steps=-1 must be at least 1"),
        ({"learning_rate": float("nan")}, "--learning_rate=nan must be at least 0"),
        ({"prior_scale": 0.0}, "--prior_scale=0.0 must be at least 1e-12"),
        ({"architecture": "resnet"}, "unknown --architecture 'resnet'; known: fc, conv, lenet5, mlp, vgg3"),
        ({"estimator": "flip"}, "unknown --estimator 'flip'; known: flipout, reparam, local_reparam"),
    ],
)
def test_bounds_and_choices(flags, message):
    with pytest.raises(UserError) as error:
        config.resolve(**flags)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("config_type", [PredictConfig, PlotConfig])
def test_a_verb_that_reads_a_run_needs_one(config_type):
    with pytest.raises(UserError, match="--run is required"):
        config.make(config_type)


def test_differences_name_the_flags_that_make_a_run_what_it_is():
    old = config.resolve(model="CNN_FC", seed=1)
    assert config.differences(old, old) == []
    machine = old.replace(run="x", epochs=99, threads=3, steps_per_call=1, keep=9, data_dir="elsewhere")
    assert config.differences(old, machine) == []
    changed = old.replace(seed=2, batch_size=16)
    assert config.differences(old, changed) == ["--seed: 1 there, 2 here", "--batch_size: 64 there, 16 here"]
    named = config.differences(old, old.replace(likelihood="categorical"))
    assert named == ["--likelihood: not given there, categorical here"]
    other = config.differences(old, config.resolve(model="BNN_FC_flip", seed=1))
    # The flags that only one of them uses follow from the method.
    assert other == [
        "--method: point there, vi here", "--kl_weight: 1.0 there, 0.1 here",
        "--lr_schedule: constant there, tail here"
    ]  # fmt: skip


def random_config(rng: np.random.Generator) -> TrainConfig:
    """Return a config with random values in its fields: one of the choices, or a value of the field's type."""
    values = {}
    for name, field in FIELDS.items():
        if choices := field.metadata["choices"]:
            values[name] = str(rng.choice(list(choices)))
        elif field.type is bool:
            values[name] = bool(rng.random() < 0.5)
        elif field.type is float:
            drawn = rng.choice([rng.random(), 10 ** rng.uniform(-12, 0)])
            values[name] = float((field.metadata["minimum"] or 0) + 0.99 * drawn)
        elif field.type is str:
            values[name] = "a folder/with = signs, #3 and ünicode"
        else:
            values[name] = int(rng.integers(1, 2**31))
    values["steps" if rng.random() < 0.5 or values["lr_schedule"] == "cosine" else "epochs"] = None
    values |= {"model": "", "dry_run": False, "gradient_blocks": 0, "normalization": "frn"}
    if values["dataset"] in CHOICES["data"].names_with("ratings"):  # ratings need this network, and it needs ratings
        values |= {"architecture": "matrix_factorisation", "method": "hmc"}
    elif values["architecture"] == "matrix_factorisation":
        values["architecture"] = "mlp"
    if values["estimator"] == "local_reparam":
        values["prior"] = "normal"
    if values["method"] == "laplace" or rng.random() < 0.5:  # particles that start alike are refused
        values |= {"num_particles": 0, "num_chains": None}
    else:
        values |= {"num_particles": values["num_chains"], "init_from": "", "prior_mean": "zero"}
    return config.resolve_used(**values)


@pytest.mark.parametrize("seed", range(20))
def test_config_cfg_repeats_the_run(seed):
    """What is written into the run directory is read back as the same configuration."""
    written = random_config(np.random.default_rng(seed))
    text = config.to_flagfile(written)
    assert config.resolve(**config.from_flagfile(text, Path("config.cfg"))) == written


@pytest.mark.parametrize("seed", range(5))
def test_config_cfg_is_a_flagfile(seed, tmp_path):
    written = random_config(np.random.default_rng(seed))
    (tmp_path / "config.cfg").write_text(config.to_flagfile(written))
    assert cli.parse(TrainConfig, [f"--flagfile={tmp_path / 'config.cfg'}"]) == written


def test_laplace_needs_a_trained_run():
    with pytest.raises(UserError, match="--init_from"):
        config.resolve(method="laplace")


def test_config_cfg_with_a_flag_of_another_version_says_so():
    with pytest.raises(UserError, match=r"config.cfg has flags that this version does not know: temperature"):
        config.from_flagfile("--seed=1\n--temperature=2\n", Path("config.cfg"))


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_has_every_flag_with_its_choices(verb):
    text = cli.help_text(verb)
    lines = text.splitlines()
    for other in cli.VERBS:
        assert other in text
    for name, field in config.flags_of(cli.VERBS[verb].config_type).items():
        flag = next(i for i, line in enumerate(lines) if line.split("=")[0] == f"  --{name}")
        assert len(field.metadata["help"]) > 4, f"--{name} has no help worth reading"
        assert lines[flag + 1].strip() == field.metadata["help"]
        for choice in field.metadata["choices"]:
            assert any(choice in line for line in lines[flag + 2 : flag + 2 + len(field.metadata["choices"])]), choice


@pytest.mark.parametrize("name", ["num_draws", "threads", "max_runtime_s", "checkpoint_every_steps"])
def test_help_shows_defaults(name):
    verb = "predict" if name == "num_draws" else "train"
    field = config.flags_of(cli.VERBS[verb].config_type)[name]
    assert f"  --{name}={field.default}" in cli.help_text(verb).splitlines()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_is_quick_and_imports_no_tensorflow(verb):
    """The help takes 0.2 s of the processor, imports of TensorFlow 2.5 s. The clock would count other jobs, too."""
    code = (
        "import sys; from bnn_hvd.cli import main; code = main(['bnn_hvd', sys.argv[1], '--help']); "
        "sys.exit(code or 'tensorflow' in sys.modules or 'horovod' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, verb], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1
