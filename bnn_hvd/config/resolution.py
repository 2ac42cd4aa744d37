"""What was left open is filled in, from the rest of the flags; what contradicts itself is refused."""

import dataclasses
from pathlib import Path
from typing import Any

from bnn_hvd import registry
from bnn_hvd.config.train import TrainConfig
from bnn_hvd.errors import UserError

DEFAULT_PARTICLES = 8
BELOW_ONE = ("momentum", "dropout_rate", "ivon_beta1", "ivon_beta2", "test_fraction", "prior_wide_weight",
             "hmc_target_accept", "hmc_jitter")  # fmt: skip


def resolve(config: TrainConfig) -> TrainConfig:
    """Fill in everything that was left open in checked flags, from the model's row first.

    Raises:
      UserError: flags that contradict each other.
    """
    if config.epochs is not None and config.steps is not None:
        raise UserError("--epochs and --steps both say how long to train: give one of them")
    if config.lr_schedule.lower() == "cosine" and config.steps is not None:
        raise UserError("--lr_schedule=cosine ends with the last epoch: give --epochs instead of --steps")
    for name in BELOW_ONE:
        if getattr(config, name) >= 1:
            raise UserError(f"--{name}={getattr(config, name)} must be below 1")
    values = {f.name: _canonical(f, getattr(config, f.name)) for f in dataclasses.fields(config)}
    _take_model(values)
    _resolve_ratings(values)
    _fill(values, network="conv", method="vi", estimator="flipout")
    _fill(values, bayesian_layers="all" if values["network"] in registry.SINGLE_LAYER else "hidden")
    _resolve_chains(values)
    if values["method"] in registry.POPULATIONS:
        values["num_particles"] = values["num_particles"] or DEFAULT_PARTICLES
    if config.steps is None:
        _fill(values, epochs=1 if values["method"] == "laplace" else 10)  # laplace sees each example once
    if values["method"] == "laplace" and not values["init_from"]:
        raise UserError("--method=laplace needs --init_from, the run directory of a point run")
    _check_prior(values)
    _check_blocks(values)
    _check_batch_norm(values)
    values["model"] = values["model"] or model_name(values)
    _fill(values, run=str(Path("runs", f"{values['dataset']}_{values['model']}")))
    return TrainConfig(**values)


def _take_model(values: dict[str, Any]) -> None:
    """Fill in what --model is short for."""
    for name, value in registry.MODELS[values["model"]].items() if values["model"] else ():
        if values[name] not in ("", value):
            raise UserError(
                f"--{name}={values[name]} contradicts --model={values['model']}, which is short for "
                f"--{name}={value}: leave one of the two out"
            )
        values[name] = value


def _check_prior(values: dict[str, Any]) -> None:
    mixture, centred = values["prior"] == "scale_mixture", values["prior_mean"] == "init_from"
    if values["method"] != "vi" and (mixture or centred):
        given = "--prior=scale_mixture" if mixture else "--prior_mean=init_from"
        raise UserError(f"{given} is a prior of --method=vi: leave it out, or take that method")
    if mixture and values["estimator"] == "local_reparam":
        raise UserError(
            "--prior=scale_mixture needs draws of the weights, and --estimator=local_reparam draws activations: take "
            "flipout or reparam"
        )
    if centred and not values["init_from"]:
        raise UserError("--prior_mean=init_from needs --init_from, the run directory of a point run")


def _resolve_ratings(values: dict[str, Any]) -> None:
    """Fill in the flags of ratings: one network, with parameters of each user, and one method for it."""
    ratings, network = values["dataset"] in registry.RATINGS, values["network"]
    if ratings:
        _fill(values, network="matrix_factorisation", method="hmc")
    if ratings != (values["network"] in registry.LOCAL):
        known = "matrix_factorisation" if ratings else f"--dataset={' or '.join(registry.RATINGS)}"
        raise UserError(f"--network={network} does not fit --dataset={values['dataset']}: take {known}")
    if not ratings:
        return
    if values["method"] not in registry.FULL_BATCH:
        raise UserError(
            f"--network={values['network']} has parameters of each user, which live on one rank: take --method=hmc, "
            f"not {values['method']}"
        )
    values["standardize"] = "none"
    if values["dataset"] == "synthetic_ratings":
        _fill(values, num_users=3500, num_items=2500)


def _check_batch_norm(values: dict[str, Any]) -> None:
    """Refuse batch norms where draws of the weights, or the data of a step, have no running statistics to go with."""
    if values["normalization"] != "batch":
        return
    if values["method"] not in registry.BATCH_NORM:
        raise UserError(
            f"--normalization=batch is for {', '.join(registry.BATCH_NORM)}, not for {values['method']}, whose draws "
            "would each need statistics of their own: take frn"
        )
    if values["compression"] != "none":
        raise UserError("--normalization=batch has variances that --compression=fp16 would overflow: leave one out")


def _check_blocks(values: dict[str, Any]) -> None:
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


def _resolve_chains(values: dict[str, Any]) -> None:
    """Fill in the flags of the chains. Chains are what particles are elsewhere."""
    if values["method"] not in registry.FULL_BATCH:
        if values["num_chains"]:
            raise UserError(f"--num_chains is of hmc, not of {values['method']}: take --num_particles")
        return
    for name, needed, why in (
        ("kl_weight", 1.0, "draws from the posterior as it is"),
        ("kl_warmup_epochs", 0.0, "draws from the posterior as it is"),
        ("compression", "none", "needs the gradient as it is"),
        ("augment", "", "takes the data as they are"),
    ):
        if values[name] != needed:
            raise UserError(f"hmc {why}: leave --{name}={values[name]} out")
    chains, particles = values["num_chains"], values["num_particles"]
    if chains and particles and chains != particles:
        raise UserError(f"--num_chains={chains} and --num_particles={particles} mean the same of hmc: give one of them")
    values["num_chains"] = values["num_particles"] = chains or particles or 1
    total = values["steps"] or values["epochs"] or 10
    _fill(values, hmc_burn_in_steps=total // 2)
    kept = (total - values["hmc_burn_in_steps"]) // values["hmc_keep_every_steps"]
    if kept < 1 and not values["hmc_kept_draws"]:
        raise UserError(
            f"of {total} steps, {values['hmc_burn_in_steps']} of them burn-in, none is kept: raise --steps, or lower "
            "--hmc_burn_in_steps or --hmc_keep_every_steps"
        )
    _fill(values, hmc_kept_draws=kept)


def root_seed(config: TrainConfig, stream: str) -> int:
    """Return the seed of init, shuffle or noise: its own flag, else --seed."""
    own = getattr(config, f"{stream}_seed")
    return config.seed if own is None else own


def _canonical(field: dataclasses.Field, value: Any) -> Any:
    """Spell a choice as the registry does: --model=bnn_fc_flip is BNN_FC_flip."""
    choices = field.metadata["choices"]
    return registry.known(dict.fromkeys(choices), value) if choices and value else value


def _fill(values: dict[str, Any], **defaults: Any) -> None:
    for name, default in defaults.items():
        if values[name] in ("", None):
            values[name] = default


def model_name(values: dict[str, Any]) -> str:
    """Return the named model whose row these flags match, or a name made of them."""
    for name, row in registry.MODELS.items():
        if all(values[key] == value for key, value in row.items()):
            return name
    parts = [values["network"], values["method"]]
    return "_".join(parts + [values["estimator"]] * (values["method"] == "vi"))


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return `--flag: old -> new` for the flags that make a run what it is, where they differ."""
    return [
        f"--{f.name}: {getattr(old, f.name)} there, {getattr(new, f.name)} here"
        for f in dataclasses.fields(TrainConfig)
        if f.metadata["identity"] and getattr(old, f.name) != getattr(new, f.name)
    ]
