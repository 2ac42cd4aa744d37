"""The flags that a user left open get their values here, and flags that contradict each other are refused.

The rules of one method, network or data set are in `fill` of its options.
"""

from pathlib import Path
from typing import Any, cast

from bnn_hvd import registry
from bnn_hvd.config.flags import canonical, check, fields_of, with_defaults
from bnn_hvd.config.options import DataOptions, MethodOptions, NetworkOptions, Values
from bnn_hvd.config.train import CHOICES, TrainConfig, compose, options_types, to_flags, train_flags
from bnn_hvd.errors import UserError

DEFAULT_PARTICLES = 8


def resolve(**flags: Any) -> TrainConfig:
    """Return the complete, checked configuration of some flags; --model is replaced by its row first.

    Raises:
      UserError: a value out of bounds, or flags that contradict each other.
      TypeError: an unknown flag.
    """
    fields = train_flags()
    values = with_defaults(fields, flags)
    check(fields, values)
    values = {name: canonical(fields[name], value) for name, value in values.items()}
    _check_length(values)
    _take_model(values)
    _fill_from_options(values)
    _check_exclusive(values)
    _check_blocks(values)
    _check_batch_norm(values)
    values["model"] = values["model"] or model_name(values)
    fill(values, run=str(Path("runs", f"{values['dataset']}_{values['model']}")))
    return compose(**values)


def fill(values: Values, **defaults: Any) -> None:
    """Set each flag that was left open."""
    for name, default in defaults.items():
        if values[name] in ("", None):
            values[name] = default


def _check_length(values: Values) -> None:
    if values["epochs"] is not None and values["steps"] is not None:
        raise UserError("--epochs and --steps both say how long to train: give one of them")
    if values["lr_schedule"] == "cosine" and values["steps"] is not None:
        raise UserError("--lr_schedule=cosine ends with the last epoch: give --epochs instead of --steps")


def _take_model(values: Values) -> None:
    """Set the flags that --model stands for."""
    for name, value in registry.MODELS[values["model"]].items() if values["model"] in registry.MODELS else ():
        if values[name] not in ("", value):
            raise UserError(
                f"--{name}={values[name]} contradicts --model={values['model']}, which is short for "
                f"--{name}={value}: leave one of the two out"
            )
        values[name] = value


def _fill_from_options(values: Values) -> None:
    """Let the data set, the network and the method fill in flags, in this order: ratings choose a network."""
    CHOICES["data"].options_of(values["dataset"]).fill(values)
    fill(values, **{choice.flag: choice.default for choice in CHOICES.values()})
    chosen = options_types(values)
    data, network = cast("type[DataOptions]", chosen["data"]), cast("type[NetworkOptions]", chosen["network"])
    method = cast("type[MethodOptions]", chosen["method"])
    _check_ratings(values, data, network, method)
    network.fill(values)
    fill(values, bayesian_layers="all" if network.single_layer else "hidden")
    method.fill(values)
    if method.needs_particles:
        values["num_particles"] = values["num_particles"] or DEFAULT_PARTICLES
    if values["steps"] is None:
        fill(values, epochs=10)


def _check_ratings(
    values: Values, data: type[DataOptions], network: type[NetworkOptions], method: type[MethodOptions]
) -> None:
    """Refuse a network for ratings with other data, other networks with ratings, and methods that can't train it."""
    if data.ratings != network.local_latents:
        networks, datasets = CHOICES["network"].names_with("local_latents"), CHOICES["data"].names_with("ratings")
        known = " or ".join(networks) if data.ratings else f"--dataset={' or '.join(datasets)}"
        raise UserError(
            f"--architecture={values['architecture']} does not fit --dataset={values['dataset']}: take {known}"
        )
    if network.local_latents and not method.full_batch:
        raise UserError(
            f"--architecture={values['architecture']} has parameters of each user, which live on one rank: take "
            f"--method=hmc, not {values['method']}"
        )


def _check_exclusive(values: Values) -> None:
    """Refuse the exclusive flags of methods, networks and data sets that are not chosen."""
    for choice in CHOICES.values():
        mine = fields_of(choice.options_of(values[choice.flag]))
        for row in choice.rows:
            for name, field in fields_of(choice.options_of(row)).items():
                if field.metadata["exclusive"] and name not in mine and values[name] != field.default:
                    raise UserError(
                        f"--{name}={values[name]} is of --{choice.flag}={row}, not of {values[choice.flag]}: "
                        "leave it out"
                    )


def _check_batch_norm(values: Values) -> None:
    """Refuse batch norms where draws of the weights, or the data of a step, have no running statistics to go with."""
    if values["normalization"] != "batch":
        return
    fitting = CHOICES["method"].names_with("takes_batch_norm")
    if values["method"] not in fitting:
        raise UserError(
            f"--normalization=batch is for {', '.join(fitting)}, not for {values['method']}, whose draws "
            "would each need statistics of their own: take frn"
        )
    if values["compression"] != "none":
        raise UserError("--normalization=batch has variances that --compression=fp16 would overflow: leave one out")


def _check_blocks(values: Values) -> None:
    """Refuse what would make a run with --gradient_blocks depend on the number of ranks."""
    blocks = values["gradient_blocks"]
    if not blocks:
        return
    if blocks & (blocks - 1):
        raise UserError(f"--gradient_blocks={blocks} must be a power of two: blocks are added by halves")
    if values["num_particles"]:
        raise UserError(f"--gradient_blocks is not for particles or chains: leave it out with {values['method']}")
    for name in ("compression", "lr_scaling"):
        if values[name] != "none":
            raise UserError(
                f"--gradient_blocks makes a run the same on any number of ranks, and --{name}={values[name]} does not: "
                f"give --{name}=none"
            )


def model_name(values: Values) -> str:
    """Return the named model whose row these flags match, or a name made of them."""
    for name, row in registry.MODELS.items():
        if all(values[key] == value for key, value in row.items()):
            return name
    method = cast("type[MethodOptions]", CHOICES["method"].options_of(values["method"]))
    return "_".join(filter(None, [values["architecture"], values["method"], method.variant(values)]))


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return `--flag: old there, new here` for the flags that make a run what it is, where they differ.

    The number of particles may be raised, but a run without particles stays one.
    """
    before, after = to_flags(old), to_flags(new)
    defining = {name for name, field in train_flags().items() if field.metadata["identity"]}
    if not (before.get("num_particles") and after.get("num_particles")):
        defining.add("num_particles")
    return [
        f"--{name}: {before.get(name)} there, {after.get(name)} here"
        for name in train_flags()
        if name in defining and before.get(name) != after.get(name)
    ]
