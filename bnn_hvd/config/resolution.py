"""The flags that a user left open get their values here, and flags that contradict each other are refused.

The rules of one method, network or data set are in `fill` of its options.
"""

from pathlib import Path
from typing import Any, NamedTuple, cast

from bnn_hvd import registry
from bnn_hvd.config import usage
from bnn_hvd.config.choices import CHOICES, options_types, own_defaults
from bnn_hvd.config.flags import canonical, check, shown, with_defaults
from bnn_hvd.config.options import DataOptions, MethodOptions, NetworkOptions, Values
from bnn_hvd.config.train import TrainConfig, compose, to_flags, train_flags
from bnn_hvd.errors import UserError

DEFAULT_PARTICLES = 8


class Chosen(NamedTuple):
    """The options of what is chosen."""

    network: type[NetworkOptions]
    method: type[MethodOptions]
    data: type[DataOptions]

    @classmethod
    def of(cls, values: Values) -> "Chosen":
        return cls(**cast("dict[str, Any]", options_types(values)))


def resolve(**flags: Any) -> TrainConfig:
    """Return the complete, checked configuration of some flags; --model is replaced by its row first.

    A flag counts as given with any value but None and "".

    Raises:
      UserError: a value out of bounds, flags that contradict each other, or a given flag that changes nothing.
      TypeError: an unknown flag.
    """
    return compose(**_complete(flags, refuse_unused=True))


def resolve_used(**flags: Any) -> TrainConfig:
    """As `resolve`, for the runs of a study: flags that change nothing in this run are left out."""
    return compose(**_complete(flags, refuse_unused=False))


def _complete(flags: Values, refuse_unused: bool) -> Values:
    """Return the values of all flags."""
    fields = train_flags()
    values = with_defaults(fields, flags)
    check(fields, values)
    values = {name: canonical(fields[name], value) for name, value in values.items()}
    given = [name for name in fields if flags.get(name) not in ("", None)]
    _take_model(values)
    CHOICES["data"].options_of(values["dataset"]).fill(values)  # ratings choose a network and a method
    fill(values, **{choice.flag: choice.default for choice in CHOICES.values()})
    chosen = Chosen.of(values)
    _check_ratings(values, chosen)
    given = _leave_out(values, {name: usage.not_taken(name, fields[name], values) for name in given}, refuse_unused)
    values |= {name: value for name, value in own_defaults(values).items() if name not in given}
    _check_length(values)
    _fill_from_options(values, chosen)
    _leave_out(values, {name: usage.not_fitting(fields[name], values) for name in given}, refuse_unused)
    _check_blocks(values)
    _check_noise(values, chosen)
    _check_start(values, chosen.method)
    _check_batch_norm(values)
    values["model"] = values["model"] or model_name(values)
    fill(values, run=str(Path("runs", f"{registry.short_name(values['dataset'])}_{values['model']}")))
    return values


def _leave_out(values: Values, why_unused: dict[str, str], refuse: bool) -> list[str]:
    """Set the given flags that are not used to their defaults, or refuse them; returns the others.

    why_unused: by given flag, "" if it is used.
    """
    for name, why in why_unused.items():
        if why and refuse:
            raise UserError(f"--{name}={shown(values[name])} {why}")
        if why:
            values[name] = train_flags()[name].default
    return [name for name, why in why_unused.items() if not why]


def fill(values: Values, **defaults: Any) -> None:
    """Set each flag that was left open."""
    for name, default in defaults.items():
        if values[name] in ("", None):
            values[name] = default


def _check_length(values: Values) -> None:
    if values["epochs"] is not None and values["steps"] is not None:
        raise UserError("--epochs and --steps both say how long to train: give one of them")


def _take_model(values: Values) -> None:
    """Set the flags that --model stands for."""
    for name, value in registry.MODELS[values["model"]].items() if values["model"] in registry.MODELS else ():
        if values[name] not in ("", value):
            raise UserError(
                f"--{name}={values[name]} contradicts --model={values['model']}, which is short for "
                f"--{name}={value}: leave one of the two out"
            )
        values[name] = value


def _fill_from_options(values: Values, chosen: Chosen) -> None:
    """Let the network and the method fill in flags."""
    network, method = chosen.network, chosen.method
    network.fill(values)
    fill(values, bayesian_layers="all" if network.single_layer else "hidden")
    method.fill(values)
    if method.needs_particles:
        values["num_particles"] = values["num_particles"] or DEFAULT_PARTICLES
    if values["steps"] is None:
        fill(values, epochs=10)


def _check_ratings(values: Values, chosen: Chosen) -> None:
    """Refuse a network for ratings with other data, other networks with ratings, and methods that can't train it."""
    network, method, data = chosen
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


def _check_noise(values: Values, chosen: Chosen) -> None:
    """Refuse noise that is drawn anew for a method whose steps see the same data, all of them."""
    if chosen.data.fresh_noise and chosen.method.full_batch:
        raise UserError(
            f"--dataset={values['dataset']} has new noise in every epoch, and --method={values['method']} samples the "
            "posterior of fixed data: take another method"
        )


def _check_start(values: Values, method: type[MethodOptions]) -> None:
    """Refuse members that start from the same weights, where nothing random tells them apart."""
    count = values["num_particles"]
    if values["init_from"] and count > 1 and not method.full_batch and "noise_seed" not in method.takes:
        raise UserError(
            f"--init_from={values['init_from']} would start {count} particles alike, and they would stay alike: leave "
            "one of the two flags out"
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
    return "_".join(
        filter(None, [registry.short_name(values["architecture"]), values["method"], method.variant(values)])
    )


def _named(value: Any) -> str:
    return "not given" if value in ("", None) else shown(value)


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return `--flag: old there, new here` for the flags that make a run what it is, where they differ.

    A flag that only one of the two uses is left out: another flag, as --method, differs then. The number of particles
    may be raised, but a run without particles stays one.
    """
    before, after = to_flags(old), to_flags(new)
    defining = {name for name, field in train_flags().items() if field.metadata["identity"]}
    if not (before.get("num_particles") and after.get("num_particles")):
        defining.add("num_particles")
    return [
        f"--{name}: {_named(before[name])} there, {_named(after[name])} here"
        for name in train_flags()
        if name in defining and name in before and name in after and before[name] != after[name]
    ]
