"""A network: a forward function, its parameters, and the layout of the flat vector that holds them.

One vector theta [P] holds all parameters of a network, the Bayesian ones first. One all-reduce, one optimizer update
and one noise draw then serve all layers, and the methods see plain vectors: S weight samples are theta [S, P].

Legend: P parameters, B Bayesian ones, L local ones of one example, V batch statistics, S weight samples, N examples.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.errors import UserError
from bnn_hvd.models import layers
from bnn_hvd.noise import Gradient

CACHE_LINE = 16  # floats
NOISE = "noise"  # the parameter with the log scales of a Gaussian's noise, one per column of the target
STATISTICS = "batch statistics"  # key of the running means and variances of batch norms among a network's weights
DROPOUT = "dropout seed"  # key of the seed [2] or [S, 2] of a Keras model's own Dropout layers among its weights
DROPOUT_PURPOSE = 1 << 20  # of that seed: above the numbers of the layers and of other purposes


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A kernel, a bias or another array of parameters.

    bayesian: whether it has a distribution under vi; otherwise it is deterministic.
    prior_scale: standard deviation of its prior; 0: --prior_scale.
    is_local: whether each example has values of its own, on the rank that has the example (local latents).
    initial_gain: factor of `initial_scale`.
    """

    layer: str
    kind: str  # kernel, bias, or another name where it is neither
    shape: tuple[int, ...]
    bayesian: bool = False
    prior_scale: float = 0.0
    is_local: bool = False
    initial_gain: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.layer}/{self.kind}"

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def is_kernel(self) -> bool:
        """Whether it multiplies activations; Keras has also recurrent and depthwise kernels, and embeddings."""
        return self.kind == "embeddings" or self.kind.rpartition("_")[2] == "kernel"

    @property
    def is_dense(self) -> bool:
        return self.is_kernel and len(self.shape) == 2

    @property
    def initial_scale(self) -> float:
        """Kernels start as N(0, 2 gain^2 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 12), biases at 0."""
        if not self.is_kernel:
            return 0.0
        *window, inputs, outputs = self.shape
        return self.initial_gain * float(np.sqrt(2 / (np.prod(window) * (inputs + outputs))))


class Layers:
    """The layers that a forward function calls by name. `take` returns the weights of a declared parameter.

    dropout_seed: of a Keras model's own Dropout layers; None: they drop nothing.
    """

    def __init__(
        self, take: Callable[[Parameter], Any], num_outputs: int, example_axes: int,
        batch_norms: "BatchNorms | None" = None, dropout_seed: tf.Tensor | None = None,
    ):  # fmt: skip
        self._take = take
        self.num_outputs, self.dropout_seed = num_outputs, dropout_seed
        self._example_axes = example_axes
        self.batch_norms = batch_norms or BatchNorms()

    def parameter(self, parameter: Parameter) -> Any:
        """Return the weights of a parameter of a layer that is not of this class: a tensor, or another kernel."""
        return self._take(parameter)

    def flatten(self, x: tf.Tensor) -> tf.Tensor:
        """Return the examples of the network's input as vectors: [N, ...] or [S, N, ...] -> [N, D] or [S, N, D]."""
        return layers.flatten(x, self._example_axes)

    def dense(self, name: str, x: tf.Tensor, units: int, prior_scale: float = 0.0) -> tf.Tensor:
        """Return a dense layer: [N, D] or [S, N, D] -> [N, units] or [S, N, units].

        prior_scale: of the kernel; 0: --prior_scale.
        """
        kernel = Parameter(name, "kernel", (x.shape[-1], units), prior_scale=prior_scale)
        return layers.dense(x, self._take(kernel), self._bias(kernel))

    def conv(
        self, name: str, x: tf.Tensor, filters: int, width: int, pool: bool = False, stride: int = 1,
        initial_gain: float = 1.0,
    ) -> tf.Tensor:  # fmt: skip
        """Return a SAME convolution: [N, H, W, C] or [S, N, H, W, C] -> the same with C = filters.

        pool: followed by a max-pool of 2x2.
        initial_gain: factor of the kernel's initial values.

        Raises:
          UserError: x are no images.
        """
        if len(x.shape) < 4:
            raise UserError(
                f"this network takes images, and the data are vectors of {x.shape[-1]}: try --architecture=fc"
            )
        kernel = Parameter(name, "kernel", (width, width, x.shape[-1], filters), initial_gain=initial_gain)
        return layers.conv(x, self._take(kernel), self._bias(kernel), pool, stride)

    def conv1d(self, name: str, x: tf.Tensor, filters: int, width: int, pool: int = 1, dilation: int = 1) -> tf.Tensor:
        """Return a SAME convolution over time: [N, T, C] or [S, N, T, C] -> the same with C = filters, T / pool."""
        kernel = Parameter(name, "kernel", (width, x.shape[-1], filters))
        return layers.conv1d(x, self._take(kernel), self._bias(kernel), pool, dilation)

    def activate(self, name: str, x: tf.Tensor, normalization: str) -> tf.Tensor:
        """Return the normalised activation after a convolution, in the shape of x.

        normalization: frn, batch (batch norm and ReLU) or none (ReLU alone). Its parameters are never Bayesian.
        """
        if normalization == "none":
            return tf.nn.relu(x)
        if normalization == "batch":
            gain, shift = (self._take(Parameter(name, kind, (x.shape[-1],))) for kind in ("gain", "shift"))
            return tf.nn.relu(layers.normalized(x, *self.batch_norms.statistics(x), gain, shift))
        gain, shift, threshold = (
            self._take(Parameter(name, kind, (x.shape[-1],))) for kind in ("gain", "shift", "threshold")
        )
        return layers.frn(x, gain, shift, threshold)

    def free(self, name: str, size: int) -> tf.Tensor:
        """Return a parameter outside the layers, [size] or [S, size]. It starts at 0 and is never Bayesian."""
        return self._take(Parameter(name, "value", (size,)))

    def local(self, name: str, kind: str, size: int, prior_scale: float = 0.0) -> tf.Tensor:
        """Return the local latents of the examples of x: [N, size] or [S, N, size]."""
        return self._take(Parameter(name, kind, (size,), prior_scale=prior_scale, is_local=True))

    def _bias(self, kernel: Parameter) -> Any:
        return self._take(Parameter(kernel.layer, "bias", kernel.shape[-1:]))


class BatchNorms:
    """The means and variances of the batch norms in one forward pass, in the order of the norms.

    They are computed from the batch (in training), or read from `statistics_V`: [V] or [S, V], for each norm its means
    and then its variances.
    """

    def __init__(self, statistics_V: tf.Tensor | None = None):
        self.stored, self._used = statistics_V, 0
        self.seen: list[tf.Tensor] = []

    def statistics(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean and variance of each channel of x [N, H, W, C] or [S, N, H, W, C]: [C] or [S, C]."""
        if self.stored is None:
            found = layers.batch_statistics(x)
        else:
            first, size = self._used, x.shape[-1]
            found = self.stored[..., first : first + size], self.stored[..., first + size : first + 2 * size]
            self._used += 2 * size
        self.seen += found
        return found


class Network:
    """`forward(layers, x) -> outputs [N, *label_shape, O] or [S, N, *label_shape, O]`, for examples of one shape.

    label_shape: of the labels of an example; () for one label. num_outputs: O, of each label.
    without_channel: whether `apply` is given x with a last axis of 1 that the forward function does not see.

    Attributes:
      parameters: in the order of the flat vector: Bayesian ones first, odd sizes last (see `split`).
      layers: names of the layers, in the order of the forward function.
      bayesian, deterministic: the parameters that have a distribution under vi, and the others.
      local_parameters: those of which each example has its own (local latents); they are in none of the above.
      num_parameters, num_bayesian, num_local: P, B and L, counted in numbers.
      num_noise_scales: how many numbers at the end of theta are log scales of a Gaussian's noise.
      example_shape: of an example, as the forward function sees it.
      initial_statistics: initial means and variances of the batch norms, [V]; they are no parameters.
      is_keras: whether it is a Keras model, which has Dropout layers of its own (has_dropout) or none.
      ends_in_dense: whether its outputs are those of its last dense layer.
    """

    is_keras = has_dropout = False
    ends_in_dense = True

    def __init__(
        self,
        forward: Callable[[Layers, tf.Tensor], tf.Tensor],
        example_shape: tuple[int, ...],
        num_outputs: int,
        bayesian_layers: str = "hidden",
        bayesian_biases: bool = False,
        without_channel: bool = False,
        label_shape: tuple[int, ...] = (),
    ):
        self.forward, self.num_outputs, self._example_axes = forward, num_outputs, len(example_shape)
        self.label_shape = label_shape
        self.example_shape, self._without_channel = example_shape, without_channel
        # Initial values by name, for a seed [2]; None: those of `Parameter.initial_scale`.
        self.start: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None
        all_declared = self._declare(example_shape)
        declared = [p for p in all_declared if not p.is_local]
        self.local_parameters = [p for p in all_declared if p.is_local]
        self.num_local = sum(p.size for p in self.local_parameters)
        self.layers = list(dict.fromkeys(p.layer for p in declared if p.is_kernel))
        output = self.layers[-1]
        for i, p in enumerate(declared):
            in_layer = bayesian_layers == "all" or (p.layer == output) == (bayesian_layers == "output")
            declared[i] = dataclasses.replace(
                p, bayesian=in_layer and (p.is_kernel or (bayesian_biases and p.kind == "bias"))
            )
        # The optimizer looks for the noise at the end.
        self.parameters = sorted(declared, key=lambda p: (not p.bayesian, p.layer == NOISE, bool(p.size % CACHE_LINE)))
        self.num_noise_scales = sum(p.size for p in self.parameters if p.layer == NOISE)
        self.bayesian = [p for p in self.parameters if p.bayesian]
        self.deterministic = [p for p in self.parameters if not p.bayesian]
        self.num_parameters = sum(p.size for p in self.parameters)
        self.num_bayesian = sum(p.size for p in self.bayesian)

    @property
    def given_shape(self) -> tuple[int, ...]:
        """The shape of an example as `apply` takes it."""
        return (*self.example_shape, 1) if self._without_channel else self.example_shape

    def _declare(self, example_shape: tuple[int, ...]) -> list[Parameter]:
        """Return the parameters that the forward function declares, from one run on zeros."""
        declared: list[Parameter] = []

        def take(parameter: Parameter) -> tf.Tensor:
            assert parameter.name not in [p.name for p in declared], f"two parameters are called {parameter.name}"
            declared.append(parameter)
            return tf.zeros([1, *parameter.shape] if parameter.is_local else parameter.shape)

        batch_norms = BatchNorms()
        self.forward(Layers(take, self.num_outputs, self._example_axes, batch_norms), tf.zeros([1, *example_shape]))
        starts = [np.full(part.shape[0], i % 2, np.float32) for i, part in enumerate(batch_norms.seen)]
        self.initial_statistics = np.concatenate([np.zeros(0, np.float32), *starts])  # means 0, variances 1
        return declared

    def apply(self, weights: Mapping[str, Any], x: tf.Tensor) -> tf.Tensor:
        """Return outputs [N, *label_shape, O], where weights have an axis S [S, N, ...]; x [N, ...] or [S, N, ...]."""
        return self._forward(weights, x, BatchNorms(weights.get(STATISTICS)))

    def apply_in_training(self, weights: Mapping[str, Any], x: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return the outputs of a batch, and the batch statistics under STATISTICS, if there are any: [V] or [S, V]."""
        batch_norms = BatchNorms()
        outputs = self._forward(weights, x, batch_norms)
        return outputs, {STATISTICS: tf.concat(batch_norms.seen, -1)} if batch_norms.seen else {}

    def _forward(self, weights: Mapping[str, Any], x: tf.Tensor, batch_norms: BatchNorms) -> tf.Tensor:
        def take(parameter: Parameter) -> Any:
            return weights[parameter.name]

        net = Layers(take, self.num_outputs, self._example_axes, batch_norms, weights.get(DROPOUT))
        return self.forward(net, tf.squeeze(x, -1) if self._without_channel else x)

    def dropout(self, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the seed [2] or [S, 2] of the network's own Dropout layers, as weights; {} without such layers."""
        return {DROPOUT: seeds.derive(seed, purpose=DROPOUT_PURPOSE)} if self.has_dropout else {}

    def unflatten(self, theta: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return all parameters by name, from [P] or [S, P]; each [...] or [S, ...]."""
        return _named_parts(theta, self.parameters)

    def unflatten_bayesian(self, theta: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the Bayesian parameters by name, from [B] or [S, B]."""
        return _named_parts(theta, self.bayesian)

    def unflatten_local(self, latents: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the local latents of N examples by name, from [N, L] or [S, N, L]."""
        parts = split(latents, [p.size for p in self.local_parameters])
        return {p.name: part for p, part in zip(self.local_parameters, parts, strict=True)}

    def prior_scales(self, default: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the standard deviations of the prior: of theta [P], and of one example's local latents [L]."""
        shared_P, local_L = (
            np.concatenate([np.zeros(0), *(np.full(p.size, p.prior_scale or default) for p in parameters)])
            for parameters in (self.parameters, self.local_parameters)
        )
        return shared_P.astype(np.float32), local_L.astype(np.float32)

    def slices(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Return the entries of each parameter in a flat array [..., P], or [..., B] for the Bayesian ones."""
        ends = np.cumsum([p.size for p in self.parameters])
        return {
            p.name: flat[..., end - p.size : end]
            for p, end in zip(self.parameters, ends, strict=True)
            if end <= flat.shape[-1]
        }

    def kernels(self, parameters: list[Parameter]) -> dict[str, slice]:
        """Return where each kernel is in a flat vector of some parameters, by its name."""
        ends = np.cumsum([p.size for p in parameters]).tolist()
        return {p.name: slice(end - p.size, end) for p, end in zip(parameters, ends, strict=True) if p.is_kernel}

    def slices_in_shape(self, theta_P: np.ndarray) -> dict[str, np.ndarray]:
        """Return each parameter, in its shape, from theta [P]."""
        found = self.slices(theta_P)
        return {p.name: found[p.name].reshape(p.shape) for p in self.parameters}

    def table(self, with_scales: bool) -> str:
        """Return one line per parameter: name, shape, number of weights, and whether it is local.

        with_scales: say which are Bayesian, for a method that tells these from deterministic ones.
        """
        kinds = [(p, ("Bayesian" if p.bayesian else "deterministic") if with_scales else "") for p in self.parameters]
        kinds += [(p, "local") for p in self.local_parameters]
        lines = [f"{p.name:16} {'x'.join(map(str, p.shape)):14} {p.size:9}  {kind}" for p, kind in kinds]
        return "\n".join(line.rstrip() for line in lines)

    def initial(self, seed: np.ndarray) -> tf.Tensor:
        """Return the initial theta: [P] for a seed [2], [M, P] for seeds [M, 2]."""
        if seed.ndim == 2:
            return tf.stack([self.initial(one) for one in seed])
        if self.start:
            named = self.start(seed)
            parts = [named.get(p.name, np.zeros(p.size)).ravel() for p in self.parameters]  # noise is of no model
            return tf.constant(np.concatenate(parts), tf.float32)
        scale = np.concatenate([np.full(p.size, p.initial_scale, np.float32) for p in self.parameters])
        return tf.random.stateless_normal([self.num_parameters], seed) * scale


def split(flat: tf.Tensor, sizes: list[int]) -> list[tf.Tensor]:
    """Split the last axis: [..., P] -> [..., size] for each size. Parts of a [P] on cache lines are not copied.

    TensorFlow's split copies. Its slices are views of aligned memory, but their gradients are padded and added up.
    So this slices forward, and concatenates the gradients once.
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
