"""How many steps one call of the compiled loop makes.

A call adds about a millisecond to its steps, so a call makes many fast steps. But a rank sees a signal only between
calls, and mpirun kills the ranks some seconds after SIGTERM, so a call makes few slow steps.
"""

CALL_S = 1.0
MOST_STEPS = 100


def steps_of_call(asked: int, step_s: float) -> int:
    """Return the largest number of steps of the next call.

    asked: --steps_per_call; 0: as many steps as take about CALL_S seconds.
    step_s: seconds per step in the last call, equal on every rank. The first call includes the tracing, which makes
      this number far too large. So the second call has few steps, and measures.
    """
    return asked or max(1, int(min(MOST_STEPS, CALL_S / step_s)))
