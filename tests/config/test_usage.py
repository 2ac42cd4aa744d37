"""A flag that changes nothing is refused when it is given: all pairs of a flag and a method, network or data set.

tests/contract/test_flags.py shows that the methods really use what they say they use.
"""

from pathlib import Path
from typing import Any

import pytest

from bnn_hvd import cli, config
from bnn_hvd.config import ChurnConfig, CompareConfig, ScaleConfig, TrainConfig
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.errors import UserError
from bnn_hvd.studies.churn import regimes
from bnn_hvd.studies.scaling import jobs

FIELDS = config.train_flags()
CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.cfg"))
# What a row needs beside its own flag.
BESIDE: dict[str, dict[str, Any]] = {
    "laplace": {"init_from": "runs/point"}, "table": {"target": "y"},
    "matrix_factorisation": {"dataset": "synthetic_ratings"},
}  # fmt: skip
VALUES: dict[str, Any] = {  # of flags for which `another` finds none that fits
    "gradient_blocks": 4, "lr_scaling": "none", "normalization": "none", "prior_mean": "zero", "model": "",
    "hmc_burn_in_steps": 2, "prior": "scale_mixture", "epochs": 20,
}  # fmt: skip
ROWS = [(part, row) for part, choice in CHOICES.items() for row in choice.rows]


def another(name: str) -> Any:
    """Return a value of a flag that is not its default."""
    field = FIELDS[name]
    if name in VALUES:
        return VALUES[name]
    if choices := field.metadata["choices"]:
        return next(choice for choice in list(choices)[1:] or list(choices) if choice != field.default)
    if field.type is bool:
        return not field.default
    return {str: "word", float: 0.5}.get(field.type, 3)


def needed(name: str) -> dict[str, Any]:
    """Return the flag that this one needs."""
    if name == "gradient_blocks":
        return {"lr_scaling": "none"}
    flag, _, value = FIELDS[name].metadata["needs"].partition("=")
    return {flag: value or another(flag)} if flag else {}


def refusal(part: str, row: str, name: str, **more: Any) -> str:
    """Return why a flag is refused beside a row, "" if it is accepted and in the configuration."""
    flags = {CHOICES[part].flag: row, **BESIDE.get(row, {}), name: another(name), **more}
    try:
        made = config.resolve(**flags)
    except UserError as error:
        return str(error)
    assert config.to_flags(made)[name] == another(name)
    again = config.from_flagfile(config.to_flagfile(made), Path("config.cfg"))
    assert config.resolve(**again) == made.replace(dry_run=False)
    return ""


@pytest.mark.parametrize(("part", "row"), ROWS, ids=[row for _, row in ROWS])
def test_every_pair_is_used_or_refused(part, row):
    """A flag of its own is used by the rows that have it; a common flag by those that name it in `takes`."""
    wrong = []
    for name in FIELDS.keys() - {"model", *(choice.flag for choice in CHOICES.values())}:
        owners = [other for other in ROWS if name in CHOICES[other[0]].fields_of(other[1])]
        foreign = owners and (part, row) not in owners and {other for other, _ in owners} == {part}
        common = part in FIELDS[name].metadata["by"] and name not in CHOICES[part].options_of(row).takes
        if foreign or common:
            why = refusal(part, row, name)
            if not (why.startswith(f"--{name}=") and "leave it out" in why):
                wrong.append((name, "should be refused", why))
        else:  # the defaults of the other parts may refuse it
            why = refusal(part, row, name, **needed(name))
            if why and not any(why.startswith(f"--{flag}=") for flag in (name, *needed(name))):
                wrong.append((name, "is refused for another reason", why))
    assert not wrong


def test_takes_name_common_flags_that_ask_for_it():
    """A misspelt name in `takes` would refuse a flag that is used."""
    for part, row in ROWS:
        for name in CHOICES[part].options_of(row).takes | set(CHOICES[part].options_of(row).defaults):
            assert part in FIELDS[name].metadata["by"] or name in CHOICES[part].options_of(row).defaults, (row, name)
    for name, field in FIELDS.items():
        for part in field.metadata["by"]:
            assert any(name in CHOICES[part].options_of(row).takes for row in CHOICES[part].rows), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--method=vi --dropout_rate=0.1", "--dropout_rate=0.1 is of --method=mc_dropout, not of vi: leave it out"),
        ("--architecture=conv --hidden=64", "--hidden=64 is of --architecture=mlp, not of conv: leave it out"),
        ("--model=CNN_FC --estimator=flipout", "--estimator=flipout is of --method=vi, not of point: leave it out"),
        ("--method=hmc --learning_rate=0.001", "--learning_rate=0.001 is not used by --method=hmc: leave it out"),
        ("--method=svgd --init_from=runs/a", "--init_from=runs/a is not used by --method=svgd"),
        ("--method=point --bayesian_biases", "--bayesian_biases=true is not used by --method=point"),
        ("--target=y", "--target=y is of --dataset=table, not of digits: leave it out"),
        ("--data_dir=mnist.npz", "--data_dir=mnist.npz is not used by --dataset=digits: leave it out, or take another"),
        ("--num_factors=3", "--architecture=matrix_factorisation or --dataset=synthetic_ratings, not of conv and digi"),
        ("--momentum=0.9", "--momentum=0.9 needs --optimizer=sgd: give that too, or leave it out"),
        ("--method=vi --init_relative_scale=0.1", "--init_relative_scale=0.1 needs --init_from: give that too, or"),
        ("--init_from=runs/a --init_seed=3", "--init_seed=3 changes nothing with --init_from=runs/a: leave one of"),
        ("--method=point --num_particles=2 --init_from=runs/a", "--init_from=runs/a would start 2 particles alike"),
    ],
)
def test_a_flag_is_refused_even_with_its_default_value(words, message):
    with pytest.raises(UserError) as error:
        cli.parse(TrainConfig, words.split())
    assert message in str(error.value)


def test_each_method_has_its_own_defaults():
    assert config.resolve(method="ivon").schedule.learning_rate == 0.01
    assert config.resolve(method="ivon", learning_rate=0.001).schedule.learning_rate == 0.001
    assert config.resolve(method="point").schedule.learning_rate == 0.001
    assert config.resolve(method="vi").schedule.lr_schedule == "tail"
    assert config.compose(method="ivon").schedule.learning_rate == 0.01
    assert "      with ivon: 0.01" in cli.help_text("train").splitlines()


def test_the_help_says_who_does_not_use_a_flag():
    lines = cli.help_text("train").splitlines()
    assert "hmc" in lines[lines.index("  --learning_rate=0.001") + 2]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_flagfiles_give_only_flags_that_are_used(path):
    kinds = {"churn": ChurnConfig, "compare": CompareConfig}
    kind = next((kind for word, kind in kinds.items() if word in path.stem), TrainConfig)
    assert cli.parse(kind, [f"--flagfile={path}"])


def test_the_runs_of_a_study_take_what_they_use():
    study = config.make(ScaleConfig, run="s", models="BNN_FC_flip,CNN_FC", ranks="1", repeats=1, init_scale=0.2)
    vi, point = (job.config for job in jobs.jobs(study))
    assert vi.method.options.init_scale == 0.2
    assert "init_scale" not in config.to_flags(point)
    study = config.make(ChurnConfig, run="s", methods="ivon,point", regimes="hardware", determinism="off")
    ivon, point = (cell for cell in regimes.cells(study))
    assert (ivon.learning_rate, point.learning_rate) == (0.01, 0.001)
    assert point.jobs[0].config.schedule.optimizer == "sgd"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"hidden": 3}, "--hidden changes nothing in a run of this study"),
        ({"regimes": "noise", "method": "point"}, "--regimes: --noise_seed changes nothing in a run of this study"),
        ({"regimes": "batches", "method": "hmc"}, "--regimes: --shuffle_seed changes nothing"),
    ],
)
def test_a_study_refuses_what_none_of_its_runs_uses(flags, message):
    with pytest.raises(UserError, match=message):
        regimes.cells(config.make(ChurnConfig, run="s", **flags))
