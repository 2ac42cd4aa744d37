"""Random numbers for a training step: standard normals, signs and dropout masks, as pure functions of a seed.

Most of the time of a small variational step would go into drawing normals with TensorFlow's kernel, at 10 ns each.
Threefry-2x32-20 (Salmon et al. 2011) and the Box-Muller transform (1958), written in uint32 arithmetic and compiled by
XLA to one vectorised loop, take 1 to 2 ns. They are exact: the polynomials for logarithm, sine and cosine are accurate
to one or two bits of float32 (Moshier's Cephes), and the uniform has 31 bits, so that normals reach 6.6 standard
deviations. Measurements: docs/log.md.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Pair = tuple[tf.Tensor, tf.Tensor]
Gradient = Callable[..., Any]  # of a tf.custom_gradient function: upstream gradients -> those of its arguments

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
ROUNDS = 20
LOG = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
       -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip
SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` compiled by XLA; it may be called inside another graph."""
    return tf.function(function, jit_compile=True, autograph=False)


def normals(seed: tf.Tensor, count: int) -> tf.Tensor:
    """Return standard normals for seeds of two int64: [2] -> [count], [M, 2] -> [M, count]."""
    if len(seed.shape) == 2:
        return tf.stack([normals(one, count) for one in tf.unstack(seed)])
    return as_floats(_normal_pairs(seed, (count + 1) // 2), count)


def normal_pairs(seed: tf.Tensor, num_pairs: int) -> tf.Tensor:
    """Return complex64 [num_pairs], with standard normal real and imaginary parts; for use in a `compiled` function.

    Complex numbers make XLA emit one loop: with two outputs it would draw everything twice.
    """
    radius_bits, angle_bits = random_bits(seed, num_pairs)
    uniform = (tf.cast(tf.bitcast(_shift_right(radius_bits, 1), tf.int32), tf.float32) + 0.5) * 2.0**-31
    radius = tf.sqrt(-2.0 * _log(uniform))
    cosine, sine = _cos_sin_of_turn(tf.bitcast(angle_bits, tf.int32))
    return tf.complex(radius * cosine, radius * sine)


def as_floats(pairs: tf.Tensor, count: int) -> tf.Tensor:
    """Return the first `count` numbers of complex pairs, without copying them."""
    return tf.reshape(tf.bitcast(pairs, tf.float32), [-1])[:count]


def sign_masks(seed: tf.Tensor, num_examples: int, size: int) -> tf.Tensor:
    """Return int32 with a random sign bit and zeros elsewhere, for `flip`: [num_examples, size] for a seed [2],
    [M, num_examples, size] for seeds [M, 2]."""
    if len(seed.shape) == 2:
        return tf.stack([sign_masks(one, num_examples, size) for one in tf.unstack(seed)])
    return _sign_masks(seed, num_examples, size)


@tf.custom_gradient
def flip(x: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return x, multiplied by -1 where `masks` has the sign bit; masks broadcasts to x. It costs one xor."""
    return _flip(x, masks), lambda gradient: (_flip(gradient, masks), None)


def words16(seed: tf.Tensor, count: int) -> tf.Tensor:
    """Return random uint16 for seeds of two int64: [2] -> [count], [M, 2] -> [M, count]."""
    if len(seed.shape) == 2:
        return tf.stack([words16(one, count) for one in tf.unstack(seed)])
    blocks = _blocks(seed, (count + 3) // 4)
    return tf.reshape(tf.bitcast(blocks, tf.uint16), [-1])[:count]


@tf.custom_gradient
def drop(x: tf.Tensor, words: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return dropout of x: x / (1 - rate) where the random `words`, uint16 in the shape of x, are at least rate * 2^16,
    else 0."""
    return _drop(x, words, rate), lambda gradient: (_drop(gradient, words, rate), None, None)


def random_bits(seed: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return two uint32 [count] of random bits; for use in a `compiled` function.

    One Threefry block hashes the 128 bits of the seed to a key, so that similar seeds give unrelated bits.
    """
    words = tf.bitcast(seed, tf.uint32)
    key = threefry(words[0], words[1])
    counter = tf.bitcast(tf.range(count, dtype=tf.int32), tf.uint32)
    return threefry(key, (counter, tf.zeros_like(counter)))


def threefry(key: Pair, block: Pair) -> Pair:
    """Return Threefry-2x32-20 of a block, a pair of uint32 tensors (Salmon et al. 2011, section 3.3)."""
    keys = (key[0], key[1], tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key[0], key[1]), _uint32(PARITY)))
    left, right = block[0] + keys[0], block[1] + keys[1]
    for number in range(ROUNDS):
        left = left + right
        right = tf.bitwise.bitwise_xor(_rotate_left(right, ROTATIONS[number // 4 % 2][number % 4]), left)
        if number % 4 == 3:
            injection = number // 4 + 1
            left = left + keys[injection % 3]
            right = right + keys[(injection + 1) % 3] + _uint32(injection)
    return left, right


def _normal_pairs_impl(seed: tf.Tensor, num_pairs: int) -> tf.Tensor:
    return normal_pairs(seed, num_pairs)


_normal_pairs = compiled(_normal_pairs_impl)


@compiled
def _sign_masks(seed: tf.Tensor, num_examples: int, size: int) -> tf.Tensor:
    """Return the masks of `sign_masks`; one random word gives the signs of 32 examples for one feature."""
    rows = -(-num_examples // 32)
    words = tf.bitcast(random_bits(seed, rows * size)[0], tf.int32)
    shifted = tf.bitwise.left_shift(tf.reshape(words, [rows, 1, size]), np.arange(32, dtype=np.int32)[None, :, None])
    masks = tf.bitwise.bitwise_and(shifted, np.int32(-(2**31)))
    return tf.reshape(masks, [rows * 32, size])[:num_examples]


@compiled
def _blocks(seed: tf.Tensor, count: int) -> tf.Tensor:
    """Return uint64 [count] of random bits: one output, so that XLA emits one loop."""
    low, high = (tf.cast(word, tf.uint64) for word in random_bits(seed, count))
    return tf.bitwise.bitwise_or(low, tf.bitwise.left_shift(high, tf.constant(32, tf.uint64)))


@compiled
def _drop(x: tf.Tensor, words: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """The factor is that of the rate rounded to 16 bits, so that the mean is exactly x."""
    threshold = tf.cast(tf.minimum(tf.round(rate * 2.0**16), 2.0**16 - 1.0), tf.int32)
    factor = 2.0**16 / (2.0**16 - tf.cast(threshold, tf.float32))
    return tf.where(tf.cast(words, tf.int32) >= threshold, x * factor, tf.zeros_like(x))


def _flip(x: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    return tf.bitcast(tf.bitwise.bitwise_xor(tf.bitcast(x, tf.int32), masks), tf.float32)


def _log(x: tf.Tensor) -> tf.Tensor:
    """Return ln x, for positive x that are normal numbers of float32."""
    half_root, mantissa_bits = np.int32(0x3F3504F3), np.int32(0x7FFFFF)  # sqrt(1/2): x = m 2^e, m in [that, twice that)
    bits = tf.bitcast(x, tf.int32) - half_root
    exponent = tf.cast(tf.bitwise.right_shift(bits, 23), tf.float32)
    m = tf.bitcast(tf.bitwise.bitwise_and(bits, mantissa_bits) + half_root, tf.float32) - 1.0
    square = m * m
    tail = m * square * _polynomial(LOG, m) - 2.12194440e-4 * exponent - 0.5 * square
    return m + tail + 0.693359375 * exponent  # ln 2 in two parts


def _cos_sin_of_turn(bits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return cos and sin of 2 pi bits / 2^32, bits int32: its top two bits are the quadrant, the others the angle."""
    low = tf.bitwise.right_shift(tf.bitwise.left_shift(bits, 2), 2)
    quadrant = tf.bitwise.right_shift(bits - low, 30)
    angle = tf.cast(low, tf.float32) * (np.pi / 2 / 2**30)  # [-pi/4, pi/4)
    square = angle * angle
    sine = _polynomial(SINE, square) * square * angle + angle
    cosine = _polynomial(COSINE, square) * square * square - 0.5 * square + 1.0
    odd = tf.equal(tf.bitwise.bitwise_and(quadrant, 1), 1)
    cos_sign = tf.bitwise.left_shift(tf.bitwise.bitwise_and(quadrant + 1, 2), 30)
    sin_sign = tf.bitwise.left_shift(tf.bitwise.bitwise_and(quadrant, 2), 30)
    return _flip(tf.where(odd, sine, cosine), cos_sign), _flip(tf.where(odd, cosine, sine), sin_sign)


def _polynomial(coefficients: tuple[float, ...], x: tf.Tensor) -> tf.Tensor:
    """Return the polynomial at x, by Horner's scheme; the coefficient of the highest power comes first."""
    value = coefficients[0] + tf.zeros_like(x)
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _uint32(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)


def _shift_right(x: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(x, _uint32(bits))


def _rotate_left(x: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(x, _uint32(bits)), _shift_right(x, 32 - bits))
