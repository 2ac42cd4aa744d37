"""Layers as functions of an input, a kernel and a bias.

`dense`, `conv` and `conv1d` select the computation by the type of the kernel:

- a tensor [in, out]: one weight sample;
- a tensor [S, in, out]: S weight samples (posterior draws, particles, chains);
- `Flipout`: one perturbation for the batch, decorrelated between the examples by random signs;
- `LocalReparam`: a Normal per weight, whose noise is drawn per activation;
- `Dropout`: a tensor, with dropout on the input;
- `Wide`: S weight samples, multiplied with a shared input in one matrix product;
- `Inputs`: no kernel; a dense layer returns its input.

Flipout, LocalReparam and Dropout also come with S weight samples: tensors with the axis S, and seeds [S, 2].

Activations have the axis S only from the first layer whose weights have it, so that what all weight samples share is
computed once. In the names here, samples are always weight samples.
Legend: S weight samples, N examples, H height, W width, T times, C channels, D features.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.noise import Gradient

TINY = 1e-30
Kernel = Any  # tf.Tensor | Flipout | LocalReparam | Dropout | Wide
FRN_EPSILON, FRN_EPSILON_OF_A_PIXEL = 1e-6, 0.1  # the second: measured (docs/log.md)
BATCH_EPSILON = 1e-5


class Flipout(NamedTuple):
    """W = loc + perturbation * (r t^T), with signs r, t per example (Wen et al. 2018, eq. 3)."""

    loc: tf.Tensor
    perturbation: tf.Tensor  # scale * eps, one draw for the batch
    seed: tf.Tensor  # [2] or [S, 2], of the signs


class LocalReparam(NamedTuple):
    """Activations N(x @ loc, x^2 @ variance), with independent noise per example (Kingma et al. 2015, eq. 6)."""

    loc: tf.Tensor
    variance: tf.Tensor
    seed: tf.Tensor  # [2] or [S, 2], of the noise


class Dropout(NamedTuple):
    """x @ kernel with inputs x * z / (1 - rate), z ~ Bernoulli(1 - rate) (Srivastava et al. 2014).

    Each example and each weight sample has its own mask. All weight samples may share one kernel.
    """

    kernel: tf.Tensor
    rate: float  # in [0, 1)
    seed: tf.Tensor  # [2] or [S, 2], of the masks


class Wide(NamedTuple):
    """S weight samples of a dense kernel, for large batches: a shared input is read once, not S times.

    The rounding of a weight sample's outputs depends on S; with a plain tensor it does not.
    """

    kernel: tf.Tensor  # [S, in, out]


class Inputs(NamedTuple):
    """Instead of a dense kernel: the layer returns its input, without the bias."""


def dense(x: tf.Tensor, kernel: Kernel, bias: tf.Tensor) -> tf.Tensor:
    """Return x @ kernel + bias: [N, D] or [S, N, D] -> [N, out] or [S, N, out]."""
    if isinstance(kernel, Inputs):
        return x
    if isinstance(kernel, Dropout):
        x, kernel = _drop(x, kernel, example_axes=1), kernel.kernel
    if isinstance(kernel, Flipout):
        x = _repeat_for_samples(kernel, x)
        r, t = _sign_masks(kernel, x)
        y = tf.matmul(x, kernel.loc) + noise.flip(tf.matmul(noise.flip(x, r), kernel.perturbation), t)
    elif isinstance(kernel, Wide):
        if len(x.shape) == 2:
            return _dense_wide(x, kernel.kernel, bias)
        y = tf.matmul(x, kernel.kernel)
    elif isinstance(kernel, LocalReparam):
        y = _dense_local(_repeat_for_samples(kernel, x), kernel)
    else:
        y = tf.matmul(x, kernel)  # one product per weight sample: its bits do not depend on the other samples
    return _add_bias(y, bias, example_axes=1)


def conv(x: tf.Tensor, kernel: Kernel, bias: tf.Tensor, pool: bool = False, stride: int = 1) -> tf.Tensor:
    """Return the SAME convolution: [N, H, W, C] or [S, N, H, W, C] -> the same with C = out, H and W / stride.

    pool: followed by a max-pool of 2x2, stride 2, SAME. The maximum and the bias commute, so the bias is added to the
    pooled outputs, a quarter of the numbers.
    """
    if isinstance(kernel, Dropout):
        x, kernel = _drop(x, kernel, example_axes=3), kernel.kernel
    samples = x.shape[0] if len(x.shape) == 5 else _num_samples(kernel, axes=4)
    y = _conv_each_sample(x, kernel, samples, stride) if samples else _conv_one(x, kernel, stride)
    return _add_bias(_max_pool(y, 2, 2) if pool else y, bias, example_axes=3)


def conv1d(x: tf.Tensor, kernel: Kernel, bias: tf.Tensor, pool: int = 1, dilation: int = 1) -> tf.Tensor:
    """Return the SAME convolution over time: [N, T, C] or [S, N, T, C] -> the same with C = out, T / pool rounded up.

    kernel: [width, in, out], of any kind but LocalReparam and Wide.
    dilation: distance of the inputs that a kernel of consecutive weights sees (Yu & Koltun 2016). The times with one
      remainder by it become a row of an image, whose rows are convolved alone: TensorFlow has no gradient of a dilated
      convolution on all processors. Of the zeros at the ends, (width - 1) // 2 x dilation are at the beginning.
    pool: followed by a max-pool of so many times.
    """
    if isinstance(kernel, Dropout):
        x, kernel = _drop(x, kernel, example_axes=2), kernel.kernel
    samples = x.shape[0] if len(x.shape) == 4 else _num_samples(kernel, axes=3)
    rows, image_kernel = _rows_of_times(x, dilation), _kernel_of_height_one(kernel)
    y = _conv_each_sample(rows, image_kernel, samples, 1) if samples else _conv_one(rows, image_kernel, 1)
    y = _times_of_rows(y, x.shape[-2], dilation)
    return _add_bias(_max_pool(y[..., None, :, :], 1, pool)[..., 0, :, :] if pool > 1 else y, bias, example_axes=2)


def _rows_of_times(x: tf.Tensor, dilation: int) -> tf.Tensor:
    """Return [..., T, C] as [..., dilation, T / dilation, C], padded with zeros at the end."""
    missing = -x.shape[-2] % dilation
    if missing:
        x = tf.pad(x, [[0, 0]] * (len(x.shape) - 2) + [[0, missing], [0, 0]])
    split = tf.reshape(x, [*_lead(x, 2), x.shape[-2] // dilation, dilation, x.shape[-1]])
    return _swapped(split)


def _times_of_rows(y: tf.Tensor, times: int, dilation: int) -> tf.Tensor:
    """Undo `_rows_of_times`: [..., dilation, T / dilation, C] -> [..., T, C]."""
    joined = _swapped(y)
    return tf.reshape(joined, [*_lead(joined, 3), y.shape[-2] * dilation, y.shape[-1]])[..., :times, :]


def _swapped(x: tf.Tensor) -> tf.Tensor:
    """Return x with the two axes before the last in the other order."""
    lead, last = list(range(len(x.shape) - 3)), len(x.shape)
    return tf.transpose(x, [*lead, last - 2, last - 3, last - 1])


def _kernel_of_height_one(kernel: Kernel) -> Kernel:
    """Return [..., width, in, out] as [..., 1, width, in, out], the kernel of an image."""
    if isinstance(kernel, Flipout):
        return Flipout(kernel.loc[..., None, :, :, :], kernel.perturbation[..., None, :, :, :], kernel.seed)
    return kernel[..., None, :, :, :]


def frn(x: tf.Tensor, gain: tf.Tensor, shift: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Return filter-response normalisation with a thresholded linear unit (Singh & Krishnan 2020, eq. 1 to 3).

    max((1 + gain) x / sqrt(mean over H, W of x^2 + eps) + shift, threshold), for each example and channel: the outputs
    of an example depend neither on its batch nor on running means. It replaces a batch norm and a ReLU.

    On a map of one pixel the mean is x^2 itself. With a small eps the quotient would be the sign of x, and no gradient
    would pass. There eps is FRN_EPSILON_OF_A_PIXEL, about the mean square of x. The paper learns this eps; dividing
    the kernel of the layer before by sqrt(eps) has the same effect, so that here the kernel learns it.

    x [N, H, W, C] or [S, N, H, W, C]; the others [C] or [S, C]. The factor is 1 + gain, so that all three start at 0.
    """
    gain, shift, threshold = (_per_channel(part) for part in (gain, shift, threshold))
    mean_square = tf.reduce_mean(x * x, axis=[-3, -2], keepdims=True)
    epsilon = FRN_EPSILON_OF_A_PIXEL if x.shape[-3:-1] == (1, 1) else FRN_EPSILON
    return tf.maximum((1.0 + gain) * x * tf.math.rsqrt(mean_square + epsilon) + shift, threshold)


def batch_statistics(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return mean and variance over N, H, W: [N, H, W, C] or [S, N, H, W, C] -> two of [C] or [S, C]."""
    mean = tf.reduce_mean(x, [-4, -3, -2])
    return mean, tf.reduce_mean(tf.square(x - _per_channel(mean)), [-4, -3, -2])


def normalized(x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, gain: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Return batch norm (Ioffe & Szegedy 2015): (1 + gain) (x - mean) / sqrt(variance + eps) + shift.

    x [N, H, W, C] or [S, N, H, W, C]; the others [C], for all weight samples, or [S, C].
    """
    factor = (1.0 + gain) * tf.math.rsqrt(variance + BATCH_EPSILON)  # one number per channel: cheap
    return x * _per_channel(factor) + _per_channel(shift - mean * factor)


def mean_over_image(x: tf.Tensor) -> tf.Tensor:
    """Return the mean over H and W: [..., H, W, C] -> [..., C]."""
    return tf.reduce_mean(x, axis=[-3, -2])


def _per_channel(value: tf.Tensor) -> tf.Tensor:
    """Return [C] as it is, and [S, C] in a shape that multiplies [S, N, H, W, C]."""
    return value if len(value.shape) == 1 else value[:, None, None, None, :]


def flatten(x: tf.Tensor, example_axes: int) -> tf.Tensor:
    """Join the last `example_axes` axes into one: [..., H, W, C] -> [..., H * W * C] for 3."""
    size = x.shape[-example_axes:].num_elements()
    return tf.reshape(x, [*_lead(x, example_axes), size])


def _lead(x: tf.Tensor, example_axes: int) -> list:
    """Return the sizes of the axes before the last `example_axes`; one of them may be unknown."""
    return [-1 if size is None else size for size in x.shape[: len(x.shape) - example_axes]]


def _add_bias(y: tf.Tensor, bias: tf.Tensor, example_axes: int) -> tf.Tensor:
    """Add a bias [C], or [S, C] where each weight sample has its own."""
    if len(bias.shape) == 1:
        return tf.nn.bias_add(y, bias)
    return y + tf.reshape(bias, [bias.shape[0], *[1] * example_axes, bias.shape[1]])


def _num_samples(kernel: Kernel, axes: int) -> int:
    """Return S of a kernel, or 0 without the axis S; `axes` is the number of its other axes."""
    shape = kernel.loc.shape if isinstance(kernel, Flipout | LocalReparam) else kernel.shape
    return int(shape[0]) if len(shape) > axes else 0


def _repeat_for_samples(kernel: Flipout | LocalReparam, x: tf.Tensor) -> tf.Tensor:
    """Repeat a shared input [N, D] for the kernel's S weight samples, [S, N, D]: each has its own signs or noise."""
    samples = _num_samples(kernel, axes=2)
    return tf.repeat(x[None], samples, axis=0) if samples and len(x.shape) == 2 else x


def _sign_masks(kernel: Flipout, x: tf.Tensor) -> list[tf.Tensor]:
    """Return each example's sign masks for the input and the output channels: [..., N, in] and [..., N, out]."""
    sizes, has_samples = [kernel.loc.shape[-2], kernel.loc.shape[-1]], len(kernel.seed.shape) == 2
    masks = noise.sign_masks(kernel.seed, x.shape[1] if has_samples else x.shape[0], sum(sizes))
    return tf.split(masks, sizes, axis=-1)


def _drop(x: tf.Tensor, kernel: Dropout, example_axes: int) -> tf.Tensor:
    """Return the input with dropout, in its shape; with seeds [S, 2], [N, ...] and [S, N, ...] become [S, N, ...]."""
    has_samples = len(kernel.seed.shape) == 2
    if has_samples and len(x.shape) == example_axes + 1:
        x = tf.repeat(x[None], kernel.seed.shape[0], axis=0)
    size = (x.shape[1:] if has_samples else x.shape).num_elements()
    words = tf.reshape(noise.words16(kernel.seed, size), x.shape)
    return noise.drop(x, words, tf.constant(kernel.rate))


def _dense_local(x: tf.Tensor, kernel: LocalReparam) -> tf.Tensor:
    mean = tf.matmul(x, kernel.loc)
    variance = tf.matmul(x * x, kernel.variance)
    eps = tf.reshape(noise.normals(kernel.seed, mean.shape[-2] * mean.shape[-1]), mean.shape)
    # The variance of an input of zeros is 0, and there the square root has no gradient.
    return mean + tf.sqrt(tf.maximum(variance, TINY)) * eps


@tf.custom_gradient
def _dense_wide(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return x @ kernel + bias of each weight sample: [N, in], [S, in, out], [S, out] -> [S, N, out].

    Outside the products, the examples are the innermost axis: outputs are few, and arithmetic is vectorised along N.
    `Categorical.total_nll` transposes the result back, and TensorFlow's optimizer removes the two transpositions.
    The kernel's gradient is gradient^T x, which takes half the time of x^T gradient.
    """
    samples, inputs, outputs = kernel.shape
    wide = tf.reshape(tf.transpose(kernel, [1, 0, 2]), [inputs, samples * outputs])
    y_SON = tf.reshape(tf.transpose(tf.matmul(x, wide)), [samples, outputs, -1]) + bias[:, :, None]

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        upstream_SON = tf.transpose(upstream, [0, 2, 1])
        flat = tf.reshape(upstream_SON, [samples * outputs, -1])
        to_kernel = tf.transpose(tf.reshape(tf.matmul(flat, x), [samples, outputs, inputs]), [0, 2, 1])
        to_x = tf.matmul(flat, wide, transpose_a=True, transpose_b=True)
        return to_x, to_kernel, tf.reduce_sum(upstream_SON, -1)

    return tf.transpose(y_SON, [0, 2, 1]), gradients


def _conv_one(x: tf.Tensor, kernel: Kernel, stride: int) -> tf.Tensor:
    return _conv_flipout(x, kernel, stride) if isinstance(kernel, Flipout) else _conv2d(x, kernel, stride)


def _conv2d(x: tf.Tensor, kernel: tf.Tensor, stride: int = 1) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")


def _conv_flipout(x: tf.Tensor, kernel: Flipout, stride: int) -> tf.Tensor:
    """Return the flipout convolution, with one sign per example and channel (constant over the image)."""
    r, t = (mask[:, None, None, :] for mask in _sign_masks(kernel, x))
    if x.shape[-1] > 1 or stride > 1:
        return _conv2d(x, kernel.loc, stride) + noise.flip(_conv2d(noise.flip(x, r), kernel.perturbation, stride), t)
    # With one input channel, (x r) * P = r (x * P), and r t is one sign per filter. The kernel of an example is then
    # loc + t P, no larger than a patch: one product instead of two convolutions.
    patch, filters = kernel.loc.shape[:3].num_elements(), kernel.loc.shape[3]
    loc, perturbation = (tf.reshape(part, [1, patch, filters]) for part in (kernel.loc, kernel.perturbation))
    patches = tf.reshape(_patches(x, kernel.loc.shape), [x.shape[0], -1, patch])
    y = tf.matmul(patches, loc + noise.flip(tf.tile(perturbation, [x.shape[0], 1, 1]), t[:, 0]))
    return tf.reshape(y, [*x.shape[:3], filters])


def _patches(x: tf.Tensor, kernel_shape: tf.TensorShape) -> tf.Tensor:
    """Return the patch of inputs under the kernel at each pixel, [N, H, W, patch]: a convolution with one-hot filters.

    tf.image.extract_patches returns the same and takes many times as long.
    """
    patch = kernel_shape[:3].num_elements()
    return _conv2d(x, tf.reshape(tf.eye(patch), [*kernel_shape[:3], patch]))


def _conv_each_sample(x: tf.Tensor, kernel: Kernel, samples: int, stride: int) -> tf.Tensor:
    """Convolve one weight sample after the other: grouped or stacked convolutions measured slower (docs/log.md)."""
    inputs = tf.unstack(x, samples) if len(x.shape) == 5 else [x] * samples
    kernels = _unstacked(kernel, samples) if _num_samples(kernel, axes=4) else [kernel] * samples
    return tf.stack([_conv_one(one, its_kernel, stride) for one, its_kernel in zip(inputs, kernels, strict=True)])


def _unstacked(kernel: Kernel, samples: int) -> list[Kernel]:
    if isinstance(kernel, Flipout):
        return [Flipout(*parts) for parts in zip(*(tf.unstack(part, samples) for part in kernel), strict=True)]
    return tf.unstack(kernel, samples)


def _max_pool(x: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Return the maximum over height x width, SAME: [..., H, W, C] -> [..., H / height, W / width, C], rounded up."""
    lead, window = _lead(x, 3), [height, width]
    y = tf.nn.max_pool2d(tf.reshape(x, [-1, *x.shape[-3:]]), window, window, "SAME")
    return tf.reshape(y, [*lead, *y.shape[1:]])
