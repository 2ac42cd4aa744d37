"""The point run that a method starts from (--init_from)."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from bnn_hvd.config import TrainConfig, to_flags
from bnn_hvd.config.flags import shown
from bnn_hvd.data.description import Description
from bnn_hvd.errors import UserError
from bnn_hvd.models.build import build_network
from bnn_hvd.models.network import NOISE, Network
from bnn_hvd.run import rundir
from bnn_hvd.run.own_code import KERAS

INPUTS = ("standardize", "standardize_targets")  # flags that say what the weights are given and what they predict
POSTERIOR = (*INPUTS, "dataset", "noise_scale", "prior_scale", "kl_weight")  # that define the posterior


def initial_theta(
    config: TrainConfig, network: Network, seed: np.ndarray, alike: tuple[str, ...] = INPUTS
) -> tf.Tensor:
    """Return theta before the first step, random or that of --init_from: [P] for a seed [2], [M, P] for [M, 2].

    alike: flags that must have the same values in that run.

    Raises:
      UserError: as `trained_theta`.
    """
    if not config.method.init_from:
        return network.initial(seed)
    return tf.broadcast_to(trained_theta(config, network, alike), [*seed.shape[:-1], network.num_parameters])


def trained_theta(config: TrainConfig, network: Network, alike: tuple[str, ...]) -> np.ndarray:
    """Return theta [P] of the point run --init_from, in the order of `network`: parameters are found by their names.

    alike: flags that must have the same values there.

    Raises:
      UserError: there is no such run, it is no point run, a flag has another value, or it has other parameters.
    """
    source = f"--init_from={config.method.init_from}"
    run = Path(config.method.init_from)
    if run.suffix == KERAS:
        return _placed(_of_keras_file(run), network, source)
    there = rundir.read_config(run)
    if there.method.name != "point" or there.method.num_particles:
        particles = f" of {there.method.num_particles} particles" * bool(there.method.num_particles)
        raise UserError(
            f"{source} is a run{particles} with --method={there.method.name}: give a run of one point network"
        )
    _check_alike(config, there, alike, source)
    described = Description.from_dict(rundir.read_data(run))
    trained = build_network(there, described.example_shape, described.target)
    return _placed(trained.slices_in_shape(rundir.read_checkpoint(run)["params:0"]), network, source)


def _of_keras_file(path: Path) -> dict[str, np.ndarray]:
    """Return the weights of a .keras file by name."""
    from bnn_hvd.models import keras_model  # Keras takes long to import

    if not path.is_file():
        raise UserError(f"--init_from={path}: there is no such file; give a .keras file or a run directory")
    return keras_model.stored_parameters(path)


def _placed(named: dict[str, np.ndarray], network: Network, source: str) -> np.ndarray:
    """Return theta [P] of weights by name; the noise of a likelihood, which no .keras file has, starts at 0."""
    shapes = {name: value.shape for name, value in named.items()}
    wanted = {p.name: p.shape for p in network.parameters}
    if source.endswith(KERAS) and network.num_noise_scales:
        named, shapes = named | {f"{NOISE}/value": np.zeros(1, np.float32)}, shapes | {f"{NOISE}/value": (1,)}
    if shapes != wanted:
        name = next(name for name in [*wanted, *shapes] if shapes.get(name) != wanted.get(name))
        raise UserError(
            f"{source} has other parameters than this network, as {name}: {_shown(shapes.get(name))} there, "
            f"{_shown(wanted.get(name))} here; give the --architecture of that run, and data of the same shape"
        )
    return np.concatenate([named[p.name].ravel() for p in network.parameters])


def _check_alike(here: TrainConfig, there: TrainConfig, alike: tuple[str, ...], source: str) -> None:
    mine, its = to_flags(here), to_flags(there)
    for name in alike:
        if mine.get(name) != its.get(name):
            raise UserError(
                f"{source} was trained with --{name}={shown(its.get(name))}, and this run has "
                f"{shown(mine.get(name))}: give --{name}={shown(its.get(name))}"
            )


def _shown(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else "x".join(map(str, shape))
