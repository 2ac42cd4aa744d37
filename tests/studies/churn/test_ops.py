"""The probe tells operations that repeat from those that do not; its table is compared with one made by hand."""

import itertools

import tensorflow as tf

from bnn_hvd.studies.churn import ops, probe


def test_what_repeats_and_what_does_not():
    count = itertools.count(1)
    steady = probe.repeated(lambda: tf.constant([1.0, 2.0]), 5)
    assert (steady["equal"], steady["ulps"]) == (True, 0)
    drifting = probe.repeated(lambda: tf.constant([1.0, 2.0 + 2.0**-22 * next(count)]), 5)
    assert (drifting["equal"], drifting["ulps"]) == (False, 5)
    assert steady["digest"] != drifting["digest"]


def test_an_operation_that_determinism_refuses_is_said_so():
    def refused():
        raise tf.errors.UnimplementedError(None, None, "no deterministic kernel\nmore")

    assert probe.repeated(refused, 3) == {"refused": "no deterministic kernel"}


def test_every_operation_runs_on_the_inputs():
    tensors = probe.inputs()
    for operation in ("bias, gradient", "segment sum", "gather, gradient", "sum of 2,000,000"):
        assert tf.reduce_all(tf.math.is_finite(probe.OPERATIONS[operation](tensors)))


def test_rows_and_the_table():
    usual = {
        "a": {"equal": True, "ulps": 0, "ms": 2.0, "digest": "x"},
        "b": {"equal": False, "ulps": 7, "ms": 1.0, "digest": "y"},
    }
    slower = {"a": {"equal": True, "ulps": 0, "ms": 3.0, "digest": "x"}, "b": {"refused": "no kernel"}}
    found = {(1, "off"): usual, (1, "on"): slower, (2, "off"): {**usual, "a": usual["b"]}, (2, "on"): slower}
    rows = [row for threads in (1, 2) for row in ops.of_threads(threads, found)]
    assert [row["ratio"] for row in rows] == [1.5, None, 3.0, None]
    assert [row["as one thread"] for row in rows] == [True, True, False, True]
    assert [row["deterministic mode"] for row in rows] == ["yes", "none", "yes", "none"]
    text = ops.table(rows).splitlines()
    assert text[0].split()[:3] == ["operation", "threads", "equal"]
    assert text[2].split() == ["b", "1", "NO", "7", "yes", "1", "-", "-"]
