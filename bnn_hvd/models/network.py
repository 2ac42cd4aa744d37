"""A network: a forward function, the parameters that it asks for, and their place in one flat vector.

All parameters of a network live in one vector theta [P], the Bayesian ones first. One all-reduce, one
optimizer update and one noise draw then serve all layers, and the methods see plain vectors: a posterior
draw is a row, S of them are theta [S, P].
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig, to_flags
from bnn_hvd.errors import UserError
from bnn_hvd.models import layers
from bnn_hvd.noise import Gradient
from bnn_hvd.targets import Target, learns_noise

CACHE_LINE = 16  # floats
STATISTICS = "batch statistics"  # among the weights of a network with batch norm; in training there are none


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A kernel or a bias: `bayesian` where it has a distribution under vi.

    prior_scale: standard deviation of its prior; 0: --prior_scale.
    of_example: every example has its own, which lives where the example does.
    """

    layer: str
    kind: str  # kernel, bias, or another name of what is no layer's
    shape: tuple[int, ...]
    bayesian: bool = False
    prior_scale: float = 0.0
    of_example: bool = False

    @property
    def name(self) -> str:
        return f"{self.layer}/{self.kind}"

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def is_kernel(self) -> bool:
        return self.kind == "kernel"

    @property
    def is_dense(self) -> bool:
        return self.is_kernel and len(self.shape) == 2

    @property
    def initial_scale(self) -> float:
        """Kernels start as N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 12), biases at 0."""
        if not self.is_kernel:
            return 0.0
        *places, inputs, outputs = self.shape
        return float(np.sqrt(2 / (np.prod(places) * (inputs + outputs))))


class Layers:
    """What a network's page of code is written with: layers by name, whose weights `take` hands out."""

    def __init__(self, take: Callable[[Parameter], Any], num_outputs: int, batch_norms: "BatchNorms | None" = None):
        self._take = take
        self.num_outputs = num_outputs
        self._batch_norms = batch_norms or BatchNorms()

    def dense(self, name: str, x: tf.Tensor, units: int, prior_scale: float = 0.0) -> tf.Tensor:
        """prior_scale: of the kernel; 0: --prior_scale."""
        return layers.dense(x, *self._weights(name, (x.shape[-1], units), prior_scale))

    def conv(self, name: str, x: tf.Tensor, filters: int, width: int, pool: bool = False, stride: int = 1) -> tf.Tensor:
        """SAME convolution; `pool`: with a max-pool of 2x2 after it."""
        if len(x.shape) < 4:
            raise UserError(
                f"this network takes images, and the data are vectors of {x.shape[-1]}: try --architecture=fc"
            )
        return layers.conv(x, *self._weights(name, (width, width, x.shape[-1], filters)), pool, stride)

    def activate(self, name: str, x: tf.Tensor, normalization: str) -> tf.Tensor:
        """Return what follows a convolution: frn, or batch norm and ReLU, with parameters that are never Bayesian, or
        ReLU alone."""
        if normalization == "none":
            return tf.nn.relu(x)
        if normalization == "batch":
            gain, shift = (self._take(Parameter(name, kind, (x.shape[-1],))) for kind in ("gain", "shift"))
            return tf.nn.relu(layers.normalized(x, *self._batch_norms.statistics(x), gain, shift))
        gain, shift, threshold = (
            self._take(Parameter(name, kind, (x.shape[-1],))) for kind in ("gain", "shift", "threshold")
        )
        return layers.frn(x, gain, shift, threshold)

    def free(self, name: str) -> tf.Tensor:
        """Return a number that belongs to no layer, [1] or [S, 1]; it starts at 0 and is never Bayesian."""
        return self._take(Parameter(name, "value", (1,)))

    def of_example(self, name: str, kind: str, size: int, prior_scale: float = 0.0) -> tf.Tensor:
        """Return parameters that each example has for itself, of the examples of x: [N, size] or [S, N, size]."""
        return self._take(Parameter(name, kind, (size,), prior_scale=prior_scale, of_example=True))

    def _weights(self, layer: str, shape: tuple[int, ...], prior_scale: float = 0.0) -> tuple[Any, Any]:
        kernel = Parameter(layer, "kernel", shape, prior_scale=prior_scale)
        return self._take(kernel), self._take(Parameter(layer, "bias", shape[-1:]))


class BatchNorms:
    """The means and variances that the batch norms of one pass through a network use, in their order.

    They are those of the batch (in training), or the stored ones that `statistics_V` has: [V] or [S, V], mean and
    variance of each norm after the other.
    """

    def __init__(self, statistics_V: tf.Tensor | None = None):
        self._stored, self._used = statistics_V, 0
        self.seen: list[tf.Tensor] = []

    def statistics(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean and variance of each channel of x [N, H, W, C] or [S, N, H, W, C]: [C] or [S, C]."""
        if self._stored is None:
            found = layers.batch_statistics(x)
        else:
            first, size = self._used, x.shape[-1]
            found = self._stored[..., first : first + size], self._stored[..., first + size : first + 2 * size]
            self._used += 2 * size
        self.seen += found
        return found


class Network:
    """`forward(layers, x) -> logits`, for examples of one shape.

    Attributes:
      parameters: in the order of the flat vector: Bayesian ones first, odd sizes last (see `split`).
      layers: names of the layers, in the order in which the forward function comes by them.
      bayesian, points: those that have a distribution under vi, and the others.
      of_example: the parameters that each example has for itself; they are in none of the above.
      num_of_example: L, how many numbers that is.
      num_parameters: P, the length of the flat vector.
      num_bayesian: B, of its first part.
      initial_statistics: what the means and variances of batch norms start as, [V]; they are no parameters.
    """

    def __init__(
        self,
        forward: Callable[[Layers, tf.Tensor], tf.Tensor],
        example_shape: tuple[int, ...],
        num_outputs: int,
        bayesian_layers: str = "hidden",
        bayesian_biases: bool = False,
    ):
        self.forward, self.num_outputs = forward, num_outputs
        asked_for = self._declare(example_shape)
        declared = [p for p in asked_for if not p.of_example]
        self.of_example = [p for p in asked_for if p.of_example]
        self.num_of_example = sum(p.size for p in self.of_example)
        self.layers = list(dict.fromkeys(p.layer for p in declared if p.is_kernel))
        output = self.layers[-1]
        for i, p in enumerate(declared):
            in_layer = bayesian_layers == "all" or p.layer != output
            declared[i] = dataclasses.replace(
                p, bayesian=in_layer and (p.is_kernel or (bayesian_biases and p.kind == "bias"))
            )
        self.parameters = sorted(declared, key=lambda p: (not p.bayesian, bool(p.size % CACHE_LINE)))
        self.bayesian = [p for p in self.parameters if p.bayesian]
        self.points = [p for p in self.parameters if not p.bayesian]
        self.num_parameters = sum(p.size for p in self.parameters)
        self.num_bayesian = sum(p.size for p in self.bayesian)

    def _declare(self, example_shape: tuple[int, ...]) -> list[Parameter]:
        """Run the forward function once, on zeros, and note what it asks for."""
        declared: list[Parameter] = []

        def take(parameter: Parameter) -> tf.Tensor:
            assert parameter.name not in [p.name for p in declared], f"two parameters are called {parameter.name}"
            declared.append(parameter)
            return tf.zeros([1, *parameter.shape] if parameter.of_example else parameter.shape)

        batch_norms = BatchNorms()
        self.forward(Layers(take, self.num_outputs, batch_norms), tf.zeros([1, *example_shape]))
        starts = [np.full(part.shape[0], i % 2, np.float32) for i, part in enumerate(batch_norms.seen)]
        self.initial_statistics = np.concatenate([np.zeros(0, np.float32), *starts])  # means 0, variances 1
        return declared

    def apply(self, weights: Mapping[str, Any], x: tf.Tensor) -> tf.Tensor:
        """Return logits [N, C], or [S, N, C] where weights have an axis S."""
        return self._forward(weights, x, BatchNorms(weights.get(STATISTICS)))

    def apply_in_training(self, weights: Mapping[str, Any], x: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return the same of a batch, and under STATISTICS, if there are batch norms, those of it: [V] or [S, V]."""
        batch_norms = BatchNorms()
        outputs = self._forward(weights, x, batch_norms)
        return outputs, {STATISTICS: tf.concat(batch_norms.seen, -1)} if batch_norms.seen else {}

    def _forward(self, weights: Mapping[str, Any], x: tf.Tensor, batch_norms: BatchNorms) -> tf.Tensor:
        return self.forward(Layers(lambda parameter: weights[parameter.name], self.num_outputs, batch_norms), x)

    def unflatten(self, theta: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return all parameters by name, from [P] or [S, P]."""
        return _named_parts(theta, self.parameters)

    def unflatten_bayesian(self, theta: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the Bayesian parameters by name, from [B] or [S, B]."""
        return _named_parts(theta, self.bayesian)

    def unflatten_points(self, theta: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the other parameters by name, from [P - B] or [S, P - B]."""
        return _named_parts(theta, self.points)

    def unflatten_of_example(self, latents: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the parameters of N examples by name, from [N, L] or [S, N, L]."""
        parts = split(latents, [p.size for p in self.of_example])
        return {p.name: part for p, part in zip(self.of_example, parts, strict=True)}

    def prior_scales(self, default: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the standard deviations of the prior of theta [P], and of the parameters of an example [L]."""
        shared_P, of_example_L = (
            np.concatenate([np.zeros(0), *(np.full(p.size, p.prior_scale or default) for p in parameters)])
            for parameters in (self.parameters, self.of_example)
        )
        return shared_P.astype(np.float32), of_example_L.astype(np.float32)

    def slices(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Return the entries of each parameter in a flat array [..., P], or [..., B] for the Bayesian ones."""
        ends = np.cumsum([p.size for p in self.parameters])
        return {
            p.name: flat[..., end - p.size : end]
            for p, end in zip(self.parameters, ends, strict=True)
            if end <= flat.shape[-1]
        }

    def table(self) -> str:
        """Return one line per parameter: name, shape, number of weights, and whether they have a distribution."""
        kinds = [(p, "Bayesian" if p.bayesian else "point") for p in self.parameters]
        kinds += [(p, "of each example") for p in self.of_example]
        return "\n".join(f"{p.name:16} {'x'.join(map(str, p.shape)):14} {p.size:9}  {kind}" for p, kind in kinds)

    def initial(self, seed: np.ndarray) -> tf.Tensor:
        """Return the theta that training starts with: [P] for a seed [2], [M, P] for [M, 2]."""
        if seed.ndim == 2:
            return tf.stack([self.initial(one) for one in seed])
        scale = np.concatenate([np.full(p.size, p.initial_scale, np.float32) for p in self.parameters])
        return tf.random.stateless_normal([self.num_parameters], seed) * scale


def split(flat: tf.Tensor, sizes: list[int]) -> list[tf.Tensor]:
    """Split the last axis, without copying where a part of a [P] begins and ends on a cache line.

    TensorFlow's split copies; its slices are views of aligned memory, but their gradients are padded
    and added up. So: slices forward, and the gradients concatenated once.
    """

    @tf.custom_gradient
    def slices(flat: tf.Tensor) -> tuple[list[tf.Tensor], Gradient]:
        ends = [int(end) for end in np.cumsum(sizes)]
        parts = [flat[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]
        return parts, lambda *gradients: tf.concat(gradients, -1)

    return slices(flat)


def _named_parts(flat: tf.Tensor, parameters: list[Parameter]) -> dict[str, tf.Tensor]:
    sizes = [p.size for p in parameters]
    parts = split(flat, sizes) if len(sizes) > 1 else [flat] * len(sizes)
    return {p.name: tf.reshape(part, [*flat.shape[:-1], *p.shape]) for p, part in zip(parameters, parts, strict=True)}


def build_network(config: TrainConfig, example_shape: tuple[int, ...], target: Target) -> Network:
    """Return the network that the flags name, for a target.

    The keyword arguments of its function are flags of their names.
    """
    likelihood = target.likelihood(config.data.likelihood, config.data.noise_scale)
    function, flags = registry.load(registry.NETWORKS, config.network.architecture), to_flags(config)
    takes = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    forward = functools.partial(function, **{name: flags[name] for name in takes})
    if learns_noise(likelihood, config.data.noise_scale):
        forward = functools.partial(_with_noise, forward)
    return Network(
        forward, example_shape, target.num_outputs(likelihood), config.network.bayesian_layers,
        config.network.bayesian_biases,
    )  # fmt: skip


def _with_noise(forward: Callable[[Layers, tf.Tensor], tf.Tensor], net: Layers, x: tf.Tensor) -> tf.Tensor:
    """Add an output that is learnt, and the same for all examples: the log scale of the noise."""
    outputs = forward(net, x)
    noise = tf.broadcast_to(net.free("noise")[..., None, :], [*outputs.shape[:-2], tf.shape(outputs)[-2], 1])
    return tf.concat([outputs, noise], -1)
