"""Translates the flags of the two original scripts (MNIST and CIFAR-10), so that their flagfiles run unchanged.

`cli` calls `translate` on all flags; nothing else imports this file. New flags win over old ones.
"""

import os
import sys
from pathlib import Path

from bnn_hvd import registry
from bnn_hvd.distributed import launcher
from bnn_hvd.errors import UserError

Flags = dict[str, str]

# The defaults of each script, for flags that a flagfile leaves out.
MNIST = {
    "model_data": "results", "model_type": "BNN", "bnnConv": "BNN_conv_flip", "cnnConv": "CNN_conv",
    "UseEpoch": "True", "epochs": "10", "iteration": "8000", "print_step": "10",
}  # fmt: skip
CIFAR = {
    "DATA_PATH": "", "DATA_NAME": "CIFAR-10", "model_dir": "results/bayesian_neural_network",
    "USE_EPOCH": "False", "epochs": "700", "iterations": "100", "print_step": "10", "batch_size": "128",
    "learning_rate": "0.0001", "num_monte_carlo": "80", "eval_freq": "100", "kl_regularizer": "1",
    "subtract_pixel_mean": "True", "plotting": "False",
}  # fmt: skip
RENAMED = {
    "DATA_PATH": "data_dir", "model_dir": "run", "print_step": "log_every_steps", "num_monte_carlo": "eval_draws",
    "num_intra": "threads",
}  # fmt: skip
ENVIRONMENT = {"kmp_blocktime": "KMP_BLOCKTIME", "kmp_affinity": "KMP_AFFINITY"}
NO_EFFECT = {"num_inter": "follows --threads", "plotting": "see the verb plot"}
ALIASES = {"Model_type": "model_type"}  # the spelling of the script version that had --compression
NEW_TOO = {name: name for name in ("data_dir", "epochs", "batch_size", "learning_rate", "verbose")}
# --compression is an old flag with a boolean, and a new flag with other values. It does not imply one of the scripts.
OLD_ONLY = {*MNIST, *CIFAR, *RENAMED, *ENVIRONMENT, *NO_EFFECT} - set(NEW_TOO)
BOOLS = {"UseEpoch", "USE_EPOCH", "verbose", "compression", "plotting", "subtract_pixel_mean"}
TRUTHS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}  # absl's


def translate(plain: list[str]) -> list[str]:
    """Return `plain` with the old flags replaced; the same list if it has none.

    Raises:
      UserError: an old flag has no value, or one that its script did not know, or old flags are of both scripts.
    """
    given, rest = _split(plain)
    if not (OLD_ONLY | {"compression"}) & set(given):
        return plain
    values = _with_defaults(given, rest)
    new = {to: values[name] for name, to in (RENAMED | NEW_TOO).items() if name in values}  # a new --data_dir wins
    for name, rule in COMBINED.items():
        new |= rule(values) if name in values else {}
    new = {name: value for name, value in new.items() if value}
    for name, variable in ENVIRONMENT.items():
        if name in given:  # Intel's OpenMP reads it when TensorFlow is imported, which is later
            os.environ.setdefault(variable, given[name])
    if launcher.world_rank() == 0:
        _tell(given, new)
    return _words(new) + rest


def _split(plain: list[str]) -> tuple[Flags, list[str]]:
    """Return the flags of the old scripts with their last values, and all other words in order."""
    given: Flags = {}
    rest: list[str] = []
    words = iter(_joined(plain))
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        name = ALIASES.get(name, name)
        if word.startswith("-") and name.removeprefix("no") in BOOLS and not equals:
            given[name.removeprefix("no")] = str(not name.startswith("no"))
        elif word.startswith("-") and (name in OLD_ONLY or name in NEW_TOO or _is_old_compression(name, value)):
            value = value if equals else next(words, "")
            given[name] = _bare(value)
        else:
            rest.append(word)
    return given, rest


def _joined(plain: list[str]) -> list[str]:
    """Return `plain` with the two words `--compression fp16` joined: a single `--compression` is the old boolean."""
    joined: list[str] = []
    for word in plain:
        if joined and joined[-1].lstrip("-") == "compression" and not word.startswith("-"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _is_old_compression(name: str, value: str) -> bool:
    return name == "compression" and _bare(value).lower() in TRUTHS


def _bare(value: str) -> str:
    return value.strip().strip("'\"")  # old flagfiles have blanks and quotes


def _with_defaults(given: Flags, rest: list[str]) -> Flags:
    """Return the defaults of the script of the flags, updated by `given`; no defaults if both scripts had all flags.

    Raises:
      UserError: a flag has no value, or the flags are of both scripts.
    """
    empty = [name for name in given if not given[name]]
    if empty:
        raise UserError(f"--{empty[0]} has no value: give one, or leave it out")
    mnist, cifar = (sorted(OLD_ONLY & given.keys() & one) for one in (MNIST.keys() - CIFAR, CIFAR.keys() - MNIST))
    if mnist and cifar:
        raise UserError(f"--{mnist[0]} is of the old MNIST script, --{cifar[0]} of the CIFAR-10 one: leave one out")
    values = (MNIST if mnist else CIFAR if cifar else {}) | given
    if (mnist or cifar) and any(word.lstrip("-").partition("=")[0] == "steps" for word in rest):
        for name in ("UseEpoch", "USE_EPOCH", "epochs"):  # a new --steps decides
            values.pop(name, None)
    return values


def _mnist(values: Flags) -> Flags:
    kind = registry.known({"BNN": 0, "CNN": 0}, values["model_type"], "--model_type")
    flag = f"{kind.lower()}Conv"
    choices = {name: 0 for name in registry.MODELS if name.startswith(kind)}
    model = registry.known(choices, values[flag], f"--{flag}")  # upper and lower case are the same: CNN_Conv
    run = Path(values["model_data"], f"Result_{kind}_ConvFlag_{values[flag]}")
    return {"model": model, "dataset": "mnist", "lr_scaling": "linear", "run": str(run)}


def _cifar(values: Flags) -> Flags:
    registry.known({"CIFAR-10": 0}, values["DATA_NAME"], "--DATA_NAME")
    weight = min(_number(values, "kl_regularizer", float), 1.0)  # the script had a maximum of 1
    return {
        "model": "CIFAR10_BNN_model", "dataset": "cifar10", "lr_scaling": "linear", "kl_weight": str(weight),
        "standardize": "pixel" if _true(values, "subtract_pixel_mean") else "channel",
        # In steps, but the script never read it. Here evaluations are at the ends of epochs: of each, or of none.
        "eval_every_epochs": str(min(_number(values, "eval_freq", int), 1)),
    }  # fmt: skip


def _length(values: Flags, use_epochs: str, total: str) -> Flags:
    """Return the flags of the length of a run.

    In the scripts, as here, an epoch was a pass of all ranks together. The scripts divided iterations by the number of
    ranks; --steps is not divided.

    Raises:
      UserError: the launcher does not tell the number of ranks.
    """
    if _true(values, use_epochs):
        return {}
    iterations, ranks = _number(values, total, int), launcher.world_size()
    if ranks is None and launcher.started_by_launcher():
        raise UserError(f"--{total} is divided by the number of ranks, which the launcher does not tell: give --steps")
    steps = max(iterations // (ranks or 1), min(iterations, 1))  # at least 1; 0 and less remain an error
    return {"epochs": "", "steps": str(steps)}


# Rules for the flags that need more than a new name. Flags that only these rules read are in no other table.
COMBINED = {
    "compression": lambda values: {"compression": "fp16" if _true(values, "compression") else "none"},
    "model_type": _mnist,
    "DATA_NAME": _cifar,
    "UseEpoch": lambda values: _length(values, "UseEpoch", "iteration"),
    "USE_EPOCH": lambda values: _length(values, "USE_EPOCH", "iterations"),
}


def _true(values: Flags, name: str) -> bool:
    return TRUTHS[registry.known(TRUTHS, values[name], f"value of --{name}")]


def _number(values: Flags, name: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(values[name])
    except ValueError:
        raise UserError(f"--{name}={values[name]} is not {'a whole' if kind is int else 'a'} number") from None


def _words(named: Flags) -> list[str]:
    return [f"--{name}={value}" for name, value in named.items()]


def _tell(given: Flags, new: Flags) -> None:
    """Print one line with the old flags and the new ones in their place, so that users learn the new ones."""
    pairs = ((_words(given), _words(new)), (_words(new), _words(given)))
    old, ours = (" ".join(word for word in one if word not in other) for one, other in pairs)
    idle = "".join(f"; --{name} has no effect: {why}" for name, why in NO_EFFECT.items() if name in given)
    print(f"bnn_hvd: old flags translated: {old} -> {ours}{idle}", file=sys.stderr)
