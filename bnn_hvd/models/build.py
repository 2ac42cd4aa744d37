"""From the flags to a network: one of the registry, or of the user's own."""

import functools
import inspect
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig, to_flags
from bnn_hvd.errors import UserError
from bnn_hvd.models import own
from bnn_hvd.models.network import NOISE, Layers, Network
from bnn_hvd.run.own_code import KERAS, OwnCode
from bnn_hvd.targets import Target

Forward = Callable[[Layers, tf.Tensor], tf.Tensor]
CHECKED_EXAMPLES, CHECKED_DRAWS = 3, 2  # of a network of the user's own
CLOSE = 1e-3  # of the outputs of a draw, alone and beside another one; other sums are rounded in another order


def build_network(config: TrainConfig, example_shape: tuple[int, ...], target: Target) -> Network:
    """Return the network that the flags name, with an output for the target.

    Raises:
      UserError: a network of the user's own can't be loaded, or breaks the rules of networks; or a network of ours,
        which has one output per example, is to have several.
    """
    likelihood = target.likelihood(config.data.likelihood, config.data.noise_scale)
    output_shape = (*target.label_shape, target.num_outputs(likelihood, config.data.components))
    noise_scales = target.num_noise_scales(likelihood, config.data.noise_scale)
    code = own.code_of(config)
    if code is None:
        check_one_label(target, config.network.architecture)
        return _network(_built_in(config), noise_scales, example_shape, output_shape, config)
    try:
        return _own(code, noise_scales, example_shape, output_shape, config)
    except UserError as error:
        raise error if str(error).startswith("--") else code.error(str(error)) from error
    except Exception as error:
        raise code.error_in(f"calling it on examples of the shape {list(example_shape)}", error) from error


def check_one_label(target: Target, architecture: str) -> None:
    """Raise UserError if examples have several labels each."""
    if target.label_shape:
        labels = " x ".join(map(str, target.label_shape))
        raise UserError(
            f"--architecture={architecture} has one prediction per example, and these examples have {labels} labels "
            "each: give labels [N], or a network of your own with an output for each (docs/own_networks.md)"
        )


def _network(
    forward: Forward, noise_scales: int, example_shape: tuple[int, ...], output_shape: tuple[int, ...],
    config: TrainConfig,
) -> Network:  # fmt: skip
    return Network(
        functools.partial(_with_noise, forward, noise_scales) if noise_scales else forward, example_shape,
        output_shape[-1], config.network.bayesian_layers, config.network.bayesian_biases,
        without_channel=getattr(config.network.options, "sequences", False), label_shape=output_shape[:-1],
    )  # fmt: skip


def _built_in(config: TrainConfig) -> Forward:
    """Return the forward function of the registry; its keyword-only arguments are the flags of the same names."""
    function, flags = registry.load(registry.NETWORKS, config.network.architecture), to_flags(config)
    takes = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return functools.partial(function, **{name: flags[name] for name in takes})


def _own(
    code: OwnCode, noise_scales: int, example_shape: tuple[int, ...], output_shape: tuple[int, ...],
    config: TrainConfig,
) -> Network:  # fmt: skip
    """Return a network of the user's own: `my_net(net, x)`, or a Keras model of `build(example_shape, num_outputs)`."""
    arguments = config.network.options.architecture_args
    function = None if code.value.endswith(KERAS) else code.load(arguments, first=2)
    if config.network.options.sequences:
        if len(example_shape) != 3 or example_shape[-1] != 1:
            raise UserError(
                f"--sequences is for x [N, T, D], and these examples are {list(example_shape)}: leave it out"
            )
        example_shape = example_shape[:-1]
    if function and own.first_parameter(function) == "net":
        network = _network(function, noise_scales, example_shape, output_shape, config)
        check_draws(network)
        last = next(p for p in reversed(network.parameters) if p.is_kernel and p.layer == network.layers[-1])
        network.ends_in_dense = last.is_dense and len(output_shape) == 1
        return network
    if function and own.first_parameter(function) != "example_shape":
        raise UserError("the function must be my_net(net, x), or for a Keras model build(example_shape, num_outputs)")
    from bnn_hvd.models import keras_model  # Keras takes long to import

    if function:
        build: keras_model.Build = functools.partial(function, example_shape, output_shape[-1])
    else:
        build = keras_model.from_file(code.file())
    model = keras_model.KerasForward(build, example_shape, output_shape)
    network = _network(model, noise_scales, example_shape, output_shape, config)
    network.start, network.is_keras = model.initial, True
    network.has_dropout, network.ends_in_dense = model.has_dropout, model.ends_in_dense
    return network


def check_draws(network: Network) -> None:
    """Check that a network takes several draws of its weights at once, and does not mix them.

    Raises:
      UserError: it raises an error, or its outputs for a draw are others than for that draw alone.
    """
    theta_SP = tf.random.stateless_normal([CHECKED_DRAWS, network.num_parameters], [0, 1], stddev=0.1)
    x = tf.random.stateless_normal([CHECKED_EXAMPLES, *network.given_shape], [0, 2])
    alone = [network.apply_in_training(network.unflatten(theta_P), x)[0] for theta_P in theta_SP]
    wanted = [CHECKED_EXAMPLES, *network.label_shape, network.num_outputs + network.num_noise_scales]
    if alone[0].shape != wanted:
        raise UserError(
            f"its outputs have the shape {alone[0].shape.as_list()} for {CHECKED_EXAMPLES} examples: these data need "
            f"{wanted}, with net.num_outputs at the end"
        )
    way_out = (
        "the inputs of all layers but the first then have an axis S in front: [S, N, ...]; write the function for any "
        "number of axes in front, as net.flatten(x) and axis=-1 do"
    )
    try:
        together = network.apply_in_training(network.unflatten(theta_SP), x)[0]
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            f"with {CHECKED_DRAWS} draws of its weights at once it raises {type(error).__name__} ({line}): {way_out}"
        ) from error
    if together.shape != [CHECKED_DRAWS, *wanted] or not np.allclose(together, tf.stack(alone), CLOSE, CLOSE):
        raise UserError(
            f"with {CHECKED_DRAWS} draws of its weights at once its outputs are not those of each: {way_out}"
        )


def _with_noise(forward: Forward, noise_scales: int, net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Append to the outputs the log scales of the noise: learnt parameters, the same for all examples."""
    outputs, noise = forward(net, x), net.free(NOISE, noise_scales)
    draws = noise.shape[:-1]  # S, where the noise has that axis
    noise = tf.reshape(noise, [*draws, *[1] * (len(outputs.shape) - 1 - len(draws)), noise_scales])
    shape = tf.concat([tf.shape(outputs)[:-1], [noise_scales]], 0)
    return tf.concat([outputs, tf.broadcast_to(noise, shape)], -1)
