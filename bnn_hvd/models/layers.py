"""Layers, for every kind of weight that there is.

What a kernel *is* is the kernel's own business, and `dense` and `conv` look at it:

- a tensor [in, out]: one setting of the weights;
- a tensor [S, in, out]: S settings side by side (posterior draws, particles, chains);
- `Flipout`: one perturbation for the batch, decorrelated by signs of each example;
- `LocalReparam`: a Normal per weight, whose noise is drawn per activation.

Activations carry the axis S only from the first layer whose weights have it, so that what all draws
share is computed once. Legend: S settings, N examples, H height, W width, C channels, D features.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from bnn_hvd import noise

TINY = 1e-30
Kernel = Any  # tf.Tensor | Flipout | LocalReparam


class Flipout(NamedTuple):
    """W = loc + perturbation * (r t^T), with signs r, t per example (Wen et al. 2018, eq. 3)."""

    loc: tf.Tensor
    perturbation: tf.Tensor  # scale * eps, one draw for the batch
    seed: tf.Tensor  # [2], of the signs


class LocalReparam(NamedTuple):
    """Activations N(x @ loc, x^2 @ scale^2), drawn per example (Kingma et al. 2015, eq. 6)."""

    loc: tf.Tensor
    log_scale: tf.Tensor
    seed: tf.Tensor  # [2], of the noise


def dense(x: tf.Tensor, kernel: Kernel, bias: tf.Tensor) -> tf.Tensor:
    """Return x @ kernel + bias: [N, D] or [S, N, D] -> [N, out] or [S, N, out]."""
    if isinstance(kernel, Flipout):
        r, t = _signs(kernel, x)
        y = tf.matmul(x, kernel.loc) + noise.flip(tf.matmul(noise.flip(x, r), kernel.perturbation), t)
    elif isinstance(kernel, LocalReparam):
        y = _dense_local(x, kernel)
    elif len(kernel.shape) == 3 and len(x.shape) == 2:
        y = _shared_input(tf.matmul, x, kernel)
    else:
        y = tf.matmul(x, kernel)
    return add_bias(y, bias, feature_axes=1)


def conv(x: tf.Tensor, kernel: Kernel, bias: tf.Tensor) -> tf.Tensor:
    """Return the SAME convolution, stride 1: [N, H, W, C] or [S, N, H, W, C] -> the same with C = out."""
    if isinstance(kernel, Flipout):
        y = _conv_flipout(x, kernel)
    elif len(kernel.shape) == 4:
        y = _fold(_conv2d, x, kernel) if len(x.shape) == 5 else _conv2d(x, kernel)
    elif len(x.shape) == 4:
        y = _shared_input(_conv2d, x, kernel)
    else:
        y = tf.stack([_conv2d(x_NHWC, k) for x_NHWC, k in zip(tf.unstack(x), tf.unstack(kernel), strict=True)])
    return add_bias(y, bias, feature_axes=3)


def max_pool(x: tf.Tensor) -> tf.Tensor:
    """Return the maximum over 2x2, stride 2, SAME."""
    pool = lambda x_NHWC, _: tf.nn.max_pool2d(x_NHWC, 2, 2, "SAME")  # noqa: E731
    return _fold(pool, x, None) if len(x.shape) == 5 else pool(x, None)


def flatten(x: tf.Tensor, example_axes: int) -> tf.Tensor:
    """Join the last `example_axes` axes into one."""
    lead = tf.shape(x)[:-example_axes]
    return tf.reshape(x, tf.concat([lead, [x.shape[-example_axes:].num_elements()]], 0))


def add_bias(y: tf.Tensor, bias: tf.Tensor, feature_axes: int) -> tf.Tensor:
    """Add a bias [C], or [S, C] where the S settings have their own."""
    if len(bias.shape) == 1:
        return y + bias
    if len(y.shape) == feature_axes + 1:
        y = y[None]
    return y + tf.reshape(bias, [tf.shape(bias)[0], *[1] * feature_axes, bias.shape[-1]])


def _signs(kernel: Flipout, x: tf.Tensor) -> list[tf.Tensor]:
    """Return sign masks of each example, for its input and its output channels: [N, in] and [N, out]."""
    sizes = [kernel.loc.shape[-2], kernel.loc.shape[-1]]
    return tf.split(noise.sign_masks(kernel.seed, x.shape[0], sum(sizes)), sizes, axis=1)


def _dense_local(x: tf.Tensor, kernel: LocalReparam) -> tf.Tensor:
    mean = tf.matmul(x, kernel.loc)
    variance = tf.matmul(x * x, tf.exp(2.0 * kernel.log_scale))
    eps = tf.reshape(noise.normals(kernel.seed, x.shape[0] * mean.shape[1]), [x.shape[0], mean.shape[1]])
    # An input of zeros has no variance, where the square root has no gradient.
    return mean + tf.sqrt(tf.maximum(variance, TINY)) * eps


def _conv_flipout(x: tf.Tensor, kernel: Flipout) -> tf.Tensor:
    """The signs are constant over the image: one per example and channel."""
    r, t = (mask[:, None, None, :] for mask in _signs(kernel, x))
    if x.shape[-1] == 1:
        # (x r) * P = r (x * P): with one channel in, both convolutions see the same x, and r t is one sign.
        both = _conv2d(x, tf.concat([kernel.loc, kernel.perturbation], -1))
        y, noisy = tf.split(both, 2, axis=-1)
        return y + noise.flip(noisy, t)
    return _conv2d(x, kernel.loc) + noise.flip(_conv2d(noise.flip(x, r), kernel.perturbation), t)


def _conv2d(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")


def _shared_input(product: Any, x: tf.Tensor, kernel_S: tf.Tensor) -> tf.Tensor:
    """Apply S kernels to one input in one product: their outputs stand side by side."""
    num_settings, out = tf.shape(kernel_S)[0], kernel_S.shape[-1]
    stacked = tf.concat(tf.unstack(kernel_S), axis=-1) if kernel_S.shape[0] else _stack_dynamic(kernel_S)
    y = product(x, stacked)
    y = tf.reshape(y, tf.concat([tf.shape(y)[:-1], [num_settings, out]], 0))
    rank = len(x.shape)
    return tf.transpose(y, [rank - 1, *range(rank - 1), rank])


def _stack_dynamic(kernel_S: tf.Tensor) -> tf.Tensor:
    rank = len(kernel_S.shape)
    moved = tf.transpose(kernel_S, [*range(1, rank - 1), 0, rank - 1])
    return tf.reshape(moved, [*kernel_S.shape[1:-1], -1])


def _fold(function: Any, x: tf.Tensor, kernel: Any) -> tf.Tensor:
    """Apply a function of [N, ...] to [S, N, ...], S and N as one axis."""
    lead = tf.shape(x)[:2]
    y = function(tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], 0)), kernel)
    folded = tf.reshape(y, tf.concat([lead, tf.shape(y)[1:]], 0))
    folded.set_shape([x.shape[0], x.shape[1], *y.shape[1:]])
    return folded
