"""A network: a forward function, the parameters that it asks for, and their place in one flat vector.

All parameters of a network live in one vector theta [P], the Bayesian ones first. One all-reduce, one
optimizer update and one noise draw then serve all layers, and the methods see plain vectors: a posterior
draw is a row, S of them are theta [S, P].
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig
from bnn_hvd.errors import UserError
from bnn_hvd.models import layers


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A kernel or a bias: `bayesian` where it has a distribution under vi."""

    layer: str
    kind: str  # kernel or bias
    shape: tuple[int, ...]
    bayesian: bool = False

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
    def initial_scale(self) -> float:
        """Kernels start as N(0, 2 / fan_in) (He et al. 2015, eq. 10, for ReLU), biases at 0."""
        return float(np.sqrt(2 / np.prod(self.shape[:-1]))) if self.is_kernel else 0.0


class Layers:
    """What a network's page of code is written with: layers by name, whose weights `take` hands out."""

    def __init__(self, take: Callable[[Parameter], Any], num_outputs: int):
        self._take = take
        self.num_outputs = num_outputs
        self.widest = 0  # floats per example of the widest layer so far

    def dense(self, name: str, x: tf.Tensor, units: int) -> tf.Tensor:
        return self._layer(layers.dense, name, x, (x.shape[-1], units))

    def conv(self, name: str, x: tf.Tensor, filters: int, width: int) -> tf.Tensor:
        if len(x.shape) < 4:
            raise UserError(f"this network takes images, and the data are vectors of {x.shape[-1]}: try --network=fc")
        return self._layer(layers.conv, name, x, (width, width, x.shape[-1], filters))

    def _layer(self, function: Callable, name: str, x: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
        y = function(x, self._take(Parameter(name, "kernel", shape)), self._take(Parameter(name, "bias", shape[-1:])))
        self.widest = max(self.widest, int(np.prod([n for n in y.shape[1:] if n])))
        return y


class Network:
    """`forward(layers, x) -> logits`, for examples of one shape.

    Attributes:
      parameters: in the order of the flat vector, Bayesian ones first.
      bayesian: those that have a distribution under vi.
      num_parameters: P, the length of the flat vector.
      num_bayesian: B, of its first part.
      widest: floats per example of the widest layer.
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
        declared, self.widest = self._declare(example_shape)
        output = declared[-1].layer
        for i, p in enumerate(declared):
            in_layer = bayesian_layers == "all" or p.layer != output
            declared[i] = dataclasses.replace(p, bayesian=in_layer and (p.is_kernel or bayesian_biases))
        self.parameters = sorted(declared, key=lambda p: not p.bayesian)
        self.bayesian = [p for p in self.parameters if p.bayesian]
        self.num_parameters = sum(p.size for p in self.parameters)
        self.num_bayesian = sum(p.size for p in self.bayesian)

    def _declare(self, example_shape: tuple[int, ...]) -> tuple[list[Parameter], int]:
        """Run the forward function once, on zeros, and note what it asks for."""
        declared: list[Parameter] = []

        def take(parameter: Parameter) -> tf.Tensor:
            assert parameter.name not in [p.name for p in declared], f"two parameters are called {parameter.name}"
            declared.append(parameter)
            return tf.zeros(parameter.shape)

        net = Layers(take, self.num_outputs)
        self.forward(net, tf.zeros([1, *example_shape]))
        return declared, net.widest

    def apply(self, weights: Mapping[str, Any], x: tf.Tensor) -> tf.Tensor:
        """Return logits [N, C], or [S, N, C] where weights have an axis S."""
        return self.forward(Layers(lambda parameter: weights[parameter.name], self.num_outputs), x)

    def unflatten(self, theta: tf.Tensor, bayesian_only: bool = False) -> dict[str, tf.Tensor]:
        """Return the parameters by name, from [P] or [S, P] (bayesian_only: from [B] or [S, B])."""
        parameters = self.bayesian if bayesian_only else self.parameters
        parts = tf.split(theta, [p.size for p in parameters], axis=-1)
        lead = theta.shape[:-1]
        return {p.name: tf.reshape(part, [*lead, *p.shape]) for p, part in zip(parameters, parts, strict=True)}

    def slices(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Return the entries of each parameter in a flat array [P], or [B] for the Bayesian ones."""
        ends = np.cumsum([p.size for p in self.parameters])
        return {p.name: flat[end - p.size : end] for p, end in zip(self.parameters, ends, strict=True) if end <= len(flat)}

    def table(self) -> str:
        """Return one line per parameter: name, shape, number of weights, and whether they have a distribution."""
        return "\n".join(
            f"{p.name:16} {'x'.join(map(str, p.shape)):14} {p.size:9}  {'Bayesian' if p.bayesian else 'point'}"
            for p in self.parameters
        )

    def initial(self, seed: np.ndarray) -> tf.Tensor:
        """Return the theta [P] that training starts with."""
        scale = np.concatenate([np.full(p.size, p.initial_scale, np.float32) for p in self.parameters])
        return tf.random.stateless_normal([self.num_parameters], seed) * scale


def build(config: TrainConfig, example_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return the network that the flags name."""
    forward = registry.load(registry.NETWORKS, config.network)
    return Network(forward, example_shape, num_outputs, config.bayesian_layers, config.bayesian_biases)
