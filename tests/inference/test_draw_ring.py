"""Ring buffers of draws against a list of all draws."""

import numpy as np
import pytest
import tensorflow as tf

from bnn_hvd.inference.draw_ring import DrawRing, chronological, spread, write_row

CHAINS = 2


def draw(step: int) -> np.ndarray:
    """Return the positions of the chains after trajectory `step`: [M, 1]."""
    return np.array([[100.0 + step], [200.0 + step]], np.float32)


def filled(ring: DrawRing, steps: int) -> tuple[tf.Variable, list[np.ndarray]]:
    """Return the ring's buffer after so many trajectories, and all draws that are due, in their order."""
    buffer, due = tf.Variable(tf.zeros([CHAINS, ring.rows, 1])), []
    for step in range(1, steps + 1):
        ring.write({"draws": buffer}, {"draws": tf.constant(draw(step))}, tf.constant(step, tf.int64))
        if step > ring.burn_in and (step - ring.burn_in) % ring.every == 0:
            due.append(draw(step))
    return buffer, due


@pytest.mark.parametrize("ring", [DrawRing(0, 1, 1), DrawRing(3, 1, 4), DrawRing(2, 3, 3)])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 12, 17])
def test_a_ring_has_the_last_draws_that_are_due(ring, steps):
    buffer, due = filled(ring, steps)
    assert int(ring.num_written(steps)) == len(due)
    assert int(ring.num_kept(steps)) == min(len(due), ring.rows)
    overwritten, kept = chronological(buffer.numpy(), len(due))
    assert overwritten == max(len(due) - ring.rows, 0)
    expected = due[overwritten:]
    np.testing.assert_array_equal(kept, np.stack(expected, 1) if expected else np.zeros([CHAINS, 0, 1]))


@pytest.mark.parametrize("steps", [2, 4, 7, 30])
def test_draws_are_picked_from_what_is_kept(steps):
    ring = DrawRing(2, 2, 5)
    buffer, due = filled(ring, steps)
    now = np.array([[1.0], [2.0]], np.float32)
    chain_S, index_S = np.repeat(np.int32([0, 1]), 5), np.tile(np.arange(5, dtype=np.int32), 2)
    picked = ring.pick(buffer, tf.constant(now), tf.constant(chain_S), tf.constant(index_S), steps).numpy()
    for chain in range(CHAINS):
        kept = {float(one[chain, 0]) for one in due[-ring.rows :]} or {float(now[chain, 0])}
        assert set(picked[chain_S == chain].ravel().tolist()) == kept


def test_a_trace_goes_round():
    ring = tf.Variable(tf.zeros([CHAINS, 3, 1]))
    for step in range(5):
        write_row(ring, tf.constant(step), tf.constant(draw(step)))
    first, rows = chronological(ring.numpy(), 5)
    assert first == 2
    np.testing.assert_array_equal(rows, np.stack([draw(step) for step in (2, 3, 4)], 1))


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1000])
def test_few_draws_are_spread_over_the_chain(count):
    order = spread(count)
    assert sorted(order) == list(range(count))
    if count >= 100:
        first = np.sort(order[:10])
        assert np.diff(first).min() >= count // 25  # of ten random ones, two would be neighbours
