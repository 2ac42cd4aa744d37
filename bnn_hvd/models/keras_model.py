"""Any Keras 3 model as a network: its trainable variables are the parameters, by `stateless_call`.

Running means and variances of its batch norms are kept where those of our own networks are, the masks of its Dropout
layers have our seeds, and what else is not trainable is constant. S weight samples are computed one after the other.

Legend: S weight samples, N examples, V batch statistics.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from bnn_hvd import noise, seeds
from bnn_hvd.errors import UserError
from bnn_hvd.models.layers import Flipout, Inputs, Kernel, Wide
from bnn_hvd.models.network import Layers, Parameter

SEED_STATE = "seed_generator_state"  # the end of the path of a variable from which a layer draws random numbers
FIXED_SEED = np.array([0, 1])  # of the model whose graph is used; its initial weights are not
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
FLIPPED = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, *DEPTHWISE)

Build = Callable[[], Any]


class Norm(NamedTuple):
    """A trainable batch norm: the indices of its mean and variance among the variables that are not trainable."""

    mean: int
    variance: int
    size: int
    momentum: float


class KerasForward:
    """A Keras model as a forward function: x [N, ...] -> outputs [N, *output_shape], with S weight samples [S, N, ...].

    build: makes the model anew. example_shape, output_shape: of one example.

    Attributes:
      has_dropout: whether it draws random numbers in training.
      ends_in_dense: whether its output is that of a Dense layer with a bias and without an activation.

    Raises:
      UserError: the model has other inputs, outputs or variables than a network may have.
    """

    def __init__(self, build: Build, example_shape: tuple[int, ...], output_shape: tuple[int, ...]):
        self._build, self._shape = build, example_shape
        self.model = self._built(FIXED_SEED)
        self.parameters = [_parameter(v, self.model) for v in self.model.trainable_variables]
        _check_variables(self.model, self.parameters)
        self._constants = [tf.constant(v.numpy()) for v in self.model.non_trainable_variables]
        self._norms = list(_norms(self.model))
        self.has_dropout = self._check_calls(output_shape)
        self._special: dict[str, Any] = {}  # of the call in progress, the kernels that are no tensors
        self._flipped = {name for layer in self.model._flatten_layers() if (name := self._wrap(layer))}
        last = next((p.layer for p in reversed(self.parameters) if p.is_kernel), "")
        self.ends_in_dense = _ends_in_dense(self.model, last)

    def __call__(self, net: Layers, x: tf.Tensor) -> tf.Tensor:
        weights = [net.parameter(p) for p in self.parameters]
        norms, seed = net.batch_norms, net.dropout_seed
        stored = norms.stored if self._norms else None
        own_x = len(x.shape) > 1 + len(self._shape)  # of each weight sample
        count = x.shape[0] if own_x else self._num_samples(weights, stored, seed)
        calls = [
            self._call(
                [_sample(w, p, s) for w, p in zip(weights, self.parameters, strict=True)],
                _row(stored, 1, s), _row(seed, 1, s), x[s] if own_x else x,
            ) for s in range(count or 1)
        ]  # fmt: skip
        if not count:
            norms.seen += calls[0][1]
            return calls[0][0]
        norms.seen += [tf.stack(parts) for parts in zip(*(seen for _, seen in calls), strict=True)]
        return tf.stack([outputs for outputs, _ in calls])

    def initial(self, seed: np.ndarray) -> dict[str, np.ndarray]:
        """Return the initial values of the parameters by name, from the initialisers of a new model; seed: [2]."""
        variables = self._built(seed).trainable_variables
        return {p.name: v.numpy() for p, v in zip(self.parameters, variables, strict=True)}

    def _built(self, seed: np.ndarray) -> Any:
        """Return a new model. Keras seeds initialisers from Python's generator, and numbers the layers of a session."""
        if keras.backend.backend() != "tensorflow":
            raise UserError(f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow, and start again")
        before = random.getstate()
        random.seed(int(np.asarray(seed, np.int64)[0]) ^ int(np.asarray(seed, np.int64)[1]) << 1)
        try:
            keras.utils.clear_session(free_memory=False)  # so that names of layers begin with the same number
            model = self._build()
            if not isinstance(model, keras.Model):
                raise UserError(
                    f"the network's function returns {type(model).__name__}: it must return a keras.Model (Keras 3)"
                )
            model(np.zeros([1, *self._shape], np.float32))
        finally:
            random.setstate(before)
        return model

    def _num_samples(self, weights: list[Any], stored: tf.Tensor | None, seed: tf.Tensor | None) -> int:
        """Return S, 0 if nothing has the axis S."""
        pairs = [(_tensor(w), p) for w, p in zip(weights, self.parameters, strict=True) if not isinstance(w, Inputs)]
        found = [tensor.shape[0] for tensor, p in pairs if len(tensor.shape) > len(p.shape)]
        found += [value.shape[0] for value in (stored, seed) if value is not None and len(value.shape) == 2]
        return int(found[0]) if found else 0

    def _call(
        self, weights: list[Any], stored: tf.Tensor | None, seed: tf.Tensor | None, x: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the outputs of one weight sample, and the batch's means and variances if none are stored."""
        state, used, from_batch = list(self._constants), 0, bool(self._norms) and stored is None
        for norm in self._norms:
            for index in (norm.mean, norm.variance):
                state[index] = tf.zeros(norm.size) if stored is None else stored[used : used + norm.size]
                used += norm.size
        if seed is not None:
            for index, variable in enumerate(self.model.non_trainable_variables):
                if variable.path.endswith(SEED_STATE):
                    state[index] = tf.cast(seeds.derive(seed, purpose=index + 1) & 0x7FFFFFFF, tf.uint32)
        plain = []
        for w, p in zip(weights, self.parameters, strict=True):
            if isinstance(w, Flipout | Inputs) and p.name in self._flipped:
                self._special[p.name] = w
            elif isinstance(w, Flipout):  # of another layer: one draw for the batch
                w = w.loc + w.perturbation
            plain.append(tf.zeros(p.shape) if isinstance(w, Inputs) else _tensor(w))
        try:
            outputs, after = self.model.stateless_call(plain, state, x, training=from_batch or seed is not None)
        finally:
            self._special = {}
        # The running values were 0, so that the new ones are those of the batch, times 1 - momentum.
        seen = [after[i] / (1 - norm.momentum) for norm in self._norms for i in (norm.mean, norm.variance)]
        return outputs, seen if from_batch else []

    def _wrap(self, layer: Any) -> str:
        """Let a Dense, Conv or Depthwise layer take the kernels in `_special`; return the name of its kernel, or ""."""
        kernel = _kernel_of(layer) if isinstance(layer, FLIPPED) else None
        grouped = getattr(layer, "groups", 1) != 1 and not isinstance(layer, DEPTHWISE)
        if kernel is None or not layer.trainable or grouped or getattr(layer, "data_format", "") == "channels_first":
            return ""
        name, plain_call = _parameter(kernel, self.model).name, layer.call

        def call(inputs: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
            special = self._special.get(name)
            if isinstance(special, Inputs):
                return inputs
            return plain_call(inputs, *args, **kwargs) if special is None else flipout(layer, inputs, special)

        layer.call = call
        return name

    def _check_calls(self, output_shape: tuple[int, ...]) -> bool:
        """Check the outputs and what a call in training changes; return whether it draws random numbers.

        Raises:
          UserError: the outputs do not fit, or a layer has a state that is neither of a batch norm nor a seed.
        """
        variables = self.model.non_trainable_variables
        x = tf.random.stateless_normal([3, *self._shape], [0, 1])
        weights = [v.value for v in self.model.trainable_variables]
        outputs, after = self.model.stateless_call(weights, self._constants, x, training=True)
        if not isinstance(outputs, tf.Tensor):
            raise UserError("the model must have one output")
        if outputs.shape != (3, *output_shape):
            wanted = ", ".join(["N", *map(str, output_shape)])
            raise UserError(
                f"the model has outputs of the shape {['N', *outputs.shape[1:]]}: these data need [{wanted}]"
            )
        if outputs.dtype != tf.float32:
            raise UserError(f"the model's outputs are {outputs.dtype.name}: they must be float32")
        changed = {i for i, (a, b) in enumerate(zip(after, self._constants, strict=True)) if not np.array_equal(a, b)}
        of_norms = {i for norm in self._norms for i in (norm.mean, norm.variance)}
        drawn = {i for i in changed if variables[i].path.endswith(SEED_STATE)}
        for i in sorted(changed - of_norms - drawn):
            raise UserError(
                f"training changes {variables[i].path}, and only batch norms may have one: leave that layer out"
            )
        return bool(drawn)


def flipout(layer: Any, x: tf.Tensor, kernel: Flipout) -> tf.Tensor:
    """Return a Dense, Conv or Depthwise layer with signs per example and channel (models/layers.py: Flipout)."""
    bias = layer.bias if layer.use_bias else None
    channels = kernel.loc.shape[-2] * (kernel.loc.shape[-1] if isinstance(layer, DEPTHWISE) else 1)
    sizes = [kernel.loc.shape[-2], channels if isinstance(layer, DEPTHWISE) else kernel.loc.shape[-1]]
    masks = noise.sign_masks(kernel.seed, x.shape[0], sum(sizes))
    masks = tf.reshape(masks, [x.shape[0], *[1] * (len(x.shape) - 2), sum(sizes)])
    r, t = tf.split(masks, sizes, axis=-1)
    y = _linear(layer, x, kernel.loc) + noise.flip(_linear(layer, noise.flip(x, r), kernel.perturbation), t)
    y = y if bias is None else y + bias
    return y if layer.activation is None else layer.activation(y)


def from_file(path: Path) -> Build:
    """Return the function that makes the model of a .keras file anew, with new initial weights."""
    model = read(path)
    return lambda: keras.models.clone_model(model)


def read(path: Path) -> Any:
    """Return the model of a .keras file, with its weights.

    Raises:
      UserError: it can't be read.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"{path} can't be read as a Keras 3 model ({type(error).__name__}: {line})") from error


def stored_parameters(path: Path) -> dict[str, np.ndarray]:
    """Return the trainable variables of a .keras file by the names of the parameters."""
    model = read(path)
    return {_parameter(v, model).name: v.numpy() for v in model.trainable_variables}


def _parameter(variable: Any, model: Any) -> Parameter:
    """Return the parameter of a variable, whose path is [model/]layer/.../kind."""
    layer, _, kind = variable.path.removeprefix(f"{model.name}/").rpartition("/")
    return Parameter(layer or "model", kind, tuple(variable.shape))


def _check_variables(model: Any, parameters: list[Parameter]) -> None:
    for v in model.trainable_variables:
        if v.dtype != "float32":
            raise UserError(f"the model's variable {v.path} is {v.dtype}: all trainable ones must be float32")
    if not any(p.is_kernel for p in parameters):
        raise UserError("the model has no trainable kernel: nothing could be learnt")
    names = [p.name for p in parameters]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(f"two variables of the model are called {twice}: give the layers different names")


def _norms(model: Any) -> Iterator[Norm]:
    """Yield the trainable batch norms, in the order of the layers."""
    index = {id(v): i for i, v in enumerate(model.non_trainable_variables)}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            mean, variance = layer.moving_mean, layer.moving_variance
            yield Norm(index[id(mean)], index[id(variance)], mean.shape[0], layer.momentum)


def _ends_in_dense(model: Any, layer: str) -> bool:
    """Return whether the output is that of the Dense layer with this name; only for models of a graph of layers."""
    outputs = getattr(model, "outputs", None) or [None]
    last = getattr(getattr(outputs[0], "_keras_history", None), "operation", None)
    return (
        isinstance(last, keras.layers.Dense) and last.use_bias and last.trainable
        and last.activation is keras.activations.linear and _parameter(_kernel_of(last), model).layer == layer
        and len(outputs[0].shape) == 2
    )  # fmt: skip


def _kernel_of(layer: Any) -> Any:
    """Return the variable of a layer's kernel, None before it is built; `kernel` of Dense and Conv is its value."""
    return getattr(layer, "kernel" if isinstance(layer, DEPTHWISE) else "_kernel", None)


def _linear(layer: Any, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return the product or the convolution of a layer, without its bias and activation."""
    if isinstance(layer, keras.layers.Dense):
        return keras.ops.matmul(x, kernel)
    if isinstance(layer, DEPTHWISE):
        return keras.ops.depthwise_conv(
            x, kernel, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate
        )
    return layer.convolution_op(x, kernel)


def _tensor(kernel: Any) -> tf.Tensor:
    """Return the tensor of a kernel; of flipout, its mean."""
    if isinstance(kernel, Flipout):
        return kernel.loc
    return kernel.kernel if isinstance(kernel, Wide) else kernel


def _sample(kernel: Kernel, parameter: Parameter, s: int) -> Any:
    """Return one of S weight samples of a kernel; what has no axis S is shared."""
    axes = len(parameter.shape)
    if isinstance(kernel, Flipout):
        return Flipout(_row(kernel.loc, axes, s), _row(kernel.perturbation, axes, s), _row(kernel.seed, 1, s))
    return kernel if isinstance(kernel, Inputs) else _row(_tensor(kernel), axes, s)


def _row(value: Any, axes: int, s: int) -> Any:
    return value[s] if value is not None and len(value.shape) > axes else value
