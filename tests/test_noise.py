"""Normals and signs: the generator is the published one, the distribution and the elementary functions are exact.

Statistical tests have fixed seeds. Their bounds are RARE standard errors: a right number fails with probability 8e-11.
"""

import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from oracles import RARE, z_scores

from bnn_hvd import noise, seeds

COUNT = 2**22


def seed(*index: int) -> tf.Tensor:
    return tf.constant(seeds.seed(11, "noise", *index))


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return noise.normals(seed(0), COUNT).numpy().astype(np.float64)


# Random123's kat_vectors (Salmon et al. 2011): key, counter, result.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize("mode", ["eager", "xla"])
@pytest.mark.parametrize(("key", "counter", "expected"), KNOWN_ANSWERS)
def test_threefry_gives_the_published_known_answers(mode, key, counter, expected):
    function = noise.compiled(noise.threefry) if mode == "xla" else noise.threefry
    words = [tuple(tf.constant([word], tf.uint32) for word in pair) for pair in (key, counter)]
    assert tuple(int(word[0]) for word in function(*words)) == expected


def test_normals_are_normal(many):
    """Kolmogorov-Smirnov test, false-fail rate 1e-9. A sum of 12 uniforms would fail, and so would truncated tails."""
    statistic = scipy.stats.kstest(many[: 2**20], "norm").statistic
    assert statistic < np.sqrt(-np.log(1e-9 / 2) / 2 / 2**20)  # 3.2e-3


def test_the_first_six_moments(many):
    expected = [0, 1, 0, 3, 0, 15]
    for power, moment in enumerate(expected, start=1):
        assert abs(z_scores(many**power, moment)) < RARE, power


@pytest.mark.parametrize("sigmas", [3.0, 4.0, 4.5])
def test_the_tails_are_there_on_both_sides(many, sigmas):
    """Uniforms of 16 bits would fail, as their normals end at 4.9, and so would float16 arithmetic."""
    for tail in (many > sigmas, many < -sigmas):
        assert abs(np.sum(tail) - COUNT * scipy.stats.norm.sf(sigmas)) < RARE * np.sqrt(
            COUNT * scipy.stats.norm.sf(sigmas)
        )
    assert np.sum(np.abs(many) > 5) <= 17  # 2.4 are expected; more than 17 have probability 1e-10


def test_no_bits_give_nan_or_infinity():
    """The radius of Box-Muller is finite at both ends of the uniform: 6.66 at the smallest, exactly 0 at 1."""
    bits = np.array([0, 1, 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
    uniform = ((bits >> 1).astype(np.float32) + np.float32(0.5)) * np.float32(2**-31)
    radius = np.sqrt(-2 * noise._log(tf.constant(uniform)).numpy())
    assert np.isfinite(radius).all()
    assert radius[0] == pytest.approx(np.sqrt(2 * 32 * np.log(2)))
    assert radius[-1] == 0


def test_many_normals_are_finite(many):
    assert np.isfinite(many).all()
    assert len(np.unique(many)) > 0.9 * COUNT  # float32 has about 2^26 values in the range of the normals


def assert_uncorrelated(a: np.ndarray, b: np.ndarray) -> None:
    """Assert that neither the numbers, nor their absolute values, nor their signs are correlated."""
    for f in (lambda v: v, np.abs, np.sign, lambda v: v**2):
        x, y = f(a) - f(a).mean(), f(b) - f(b).mean()
        assert abs(np.mean(x * y) / x.std() / y.std()) < RARE / np.sqrt(len(a))


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 1024, 2**21])
def test_neighbours_are_independent(many, lag):
    """At lag 1 are the two normals of a pair, which share their radius."""
    assert_uncorrelated(many[:-lag], many[lag:])


def test_the_two_of_a_pair_are_independent(many):
    assert_uncorrelated(many[0::2], many[1::2])
    assert abs(np.mean(many[0::2] ** 2 * many[1::2] ** 2) - 1) < RARE * np.sqrt(8 / (COUNT / 2))


def test_successive_steps_ranks_and_layers_are_independent():
    """Layers are seeded by seed + [0, index] in vi, steps and ranks by seeds.seed."""
    base = seed(0, 5)
    rows = [base, seed(0, 6), seed(1, 5), base + [0, 1], base + [0, 2], base + [1, 0]]
    normals = [noise.normals(row, 2**18).numpy().astype(np.float64) for row in rows]
    for a, b in itertools.combinations(normals, 2):
        assert_uncorrelated(a, b)


def test_every_bit_of_the_seed_counts():
    """False-fail rate 128 x 8e-11. If a word of the seed were not used, the correlation would be 1."""
    bits = np.unpackbits(seeds.seed(11, "noise", 1).view(np.uint8))
    first = noise.normals(seed(1), 4096).numpy()
    for position in range(128):
        flipped = bits.copy()
        flipped[position] ^= 1
        other = noise.normals(tf.constant(np.packbits(flipped).view(np.int64)), 4096).numpy()
        assert abs(np.mean(first * other)) < RARE / np.sqrt(4096)


@pytest.mark.parametrize("count", [1, 2, 3, 255, 1000])
def test_any_count_gives_the_beginning_of_the_same_sequence(count, many):
    """The count may be odd, though normals are made in pairs."""
    normals = noise.normals(seed(0), count).numpy()
    assert normals.shape == (count,)
    np.testing.assert_allclose(normals, many[:count], rtol=1e-5)  # the last elements may be rounded differently


def test_inside_the_training_loop_they_are_the_same_as_outside():
    @tf.function
    def loop(seeds_T2):
        rows = tf.TensorArray(tf.float32, len(seeds_T2))
        for t in tf.range(len(seeds_T2)):
            rows = rows.write(t, noise.normals(seeds_T2[t], 999))
        return rows.stack()

    seeds_T2 = tf.stack([seed(2, step) for step in range(5)])
    expected = np.stack([noise.normals(row, 999).numpy() for row in seeds_T2])
    np.testing.assert_array_equal(loop(seeds_T2).numpy(), expected)


def ulps(value: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return the error in units of the last place of float32."""
    return np.abs(value.astype(np.float64) - exact.astype(np.float64)) / np.spacing(np.abs(exact).astype(np.float32))


@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_the_logarithm_is_exact_to_two_ulp(mode):
    """The error is relative to the logarithm itself, also near 1, where that vanishes."""
    function = noise.compiled(noise._log) if mode == "xla" else noise._log
    generator = np.random.default_rng(0)
    x = np.concatenate([np.exp2(generator.uniform(-32, 0, 200_000)), 1 - np.exp2(generator.uniform(-24, -1, 200_000))])
    x = x.astype(np.float32)
    assert ulps(function(tf.constant(x)).numpy()[x < 1], np.log(x.astype(np.float64))[x < 1]).max() <= 2
    assert function(tf.ones([1])).numpy() == 0


@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_sine_and_cosine_are_exact_to_three_ulp(mode):
    """The error is relative to the value itself, also near the zeros."""
    function = noise.compiled(noise._cos_sin_of_turn) if mode == "xla" else noise._cos_sin_of_turn
    near_zeros = (np.arange(4)[:, None] * 2**30 + np.arange(-1000, 1000)).ravel()
    borders = (np.arange(8)[:, None] * 2**29 + np.arange(-3, 4)).ravel()
    anywhere = np.random.default_rng(0).integers(2**32, size=200_000)
    bits = np.concatenate([near_zeros, borders, anywhere]) % 2**32
    turns = bits.astype(np.longdouble) / 2**32
    two_pi = 8 * np.arctan(np.longdouble(1))
    quarter = np.round(4 * turns)
    angle = (turns - quarter / 4) * two_pi  # reduced exactly before it is rounded
    cosines, sines = np.cos(angle), np.sin(angle)
    which = quarter.astype(int) % 4
    expected_cos = np.choose(which, [cosines, -sines, -cosines, sines])
    expected_sin = np.choose(which, [sines, cosines, -sines, -cosines])
    found_cos, found_sin = function(tf.constant(bits.astype(np.uint32).view(np.int32)))
    for found, expected in ((found_cos.numpy(), expected_cos), (found_sin.numpy(), expected_sin)):
        somewhere = expected != 0
        assert ulps(found, expected)[somewhere].max() <= 3
        assert np.all(found[~somewhere] == 0)


def signs(num_examples: int, size: int, *index: int) -> np.ndarray:
    masks = noise.sign_masks(seed(3, *index), num_examples, size)
    return noise.flip(tf.ones([num_examples, size]), masks).numpy().astype(np.float64)


def test_masks_hold_the_sign_bit_and_nothing_else():
    masks = noise.sign_masks(seed(3), 45, 7).numpy()
    assert masks.shape == (45, 7)
    assert set(np.unique(masks)) == {0, -(2**31)}


@pytest.mark.parametrize(("num_examples", "size"), [(4133, 40), (37, 4133), (64, 512), (1, 20_000), (33, 1)])
def test_signs_are_fair_and_independent_between_examples_and_features(num_examples, size):
    """32 examples get their signs from one word: a word or a bit that is used twice gives a correlation of 1."""
    table = signs(num_examples, size)
    assert abs(table.sum()) < RARE * np.sqrt(table.size)
    for rows in (table, table.T):  # between examples; between features
        if rows.shape[1] > 400:
            products = rows @ rows.T
            np.testing.assert_array_equal(np.diag(products), rows.shape[1])
            assert np.abs(products[~np.eye(len(rows), dtype=bool)]).max(initial=0) < RARE * np.sqrt(rows.shape[1])
            assert np.abs(rows.sum(1)).max() < RARE * np.sqrt(rows.shape[1])


def test_signs_of_two_steps_are_independent():
    assert abs(np.sum(signs(64, 512, 0) * signs(64, 512, 1))) < RARE * np.sqrt(64 * 512)


def test_flip_multiplies_the_value_and_the_gradient_by_the_sign():
    x = tf.constant(np.random.default_rng(0).normal(size=[45, 7]).astype(np.float32))
    masks = noise.sign_masks(seed(4), 45, 7)
    sign = np.where(masks.numpy() < 0, -1, 1).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = noise.flip(x, masks)
        loss = tf.reduce_sum(y**3)
    np.testing.assert_array_equal(y, x * sign)
    np.testing.assert_allclose(tape.gradient(loss, x), sign * 3 * x.numpy() ** 2, rtol=1e-6)
    np.testing.assert_array_equal(noise.flip(y, masks), x)
