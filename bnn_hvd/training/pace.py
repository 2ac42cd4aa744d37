"""How many steps one call of the compiled loop makes: ranks see a signal only between calls.

A call costs about a millisecond beside its steps, so fast steps go many at once; mpirun kills what has not
ended some seconds after SIGTERM, so slow ones do not.
"""

CALL_S = 1.0
MOST_STEPS = 100


def steps_of_call(asked: int, step_s: float) -> int:
    """Return the most steps of the next call: `asked` (--steps_per_call), or if that is 0 what takes about CALL_S.

    step_s: seconds of a step in the last call, the same on every rank. After the first call, which traces, it is
      far too much: the second call is short, and measures.
    """
    return asked or max(1, int(min(MOST_STEPS, CALL_S / step_s)))
