"""Calls a function in a fork of this process, which has imported TensorFlow and not yet computed with it.

A fork shares the imports. When it ends it gives back what TensorFlow keeps until then: the code of all functions that
XLA compiled.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from bnn_hvd.errors import TrainingError, UserError
from bnn_hvd.training.stopping import StopRequest

PR_SET_PDEATHSIG = 1  # of Linux's prctl
T = TypeVar("T")


def call(function: Callable[[], T], stop: StopRequest) -> T | None:
    """Return what a function returns in a fork (any picklable object).

    A request to stop is passed on as SIGTERM; None is returned if that ended the fork.

    Raises:
      UserError, TrainingError: the function raised one; or TrainingError, as the fork ended otherwise.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    child = context.Process(target=_call_and_send, args=(function, theirs, os.getpid()))
    child.start()
    theirs.close()
    told = False
    while not ours.poll(0.2) and child.is_alive():
        if stop.requested() and not told:
            child.terminate()
            told = True
    answer: Any = (None, None)
    try:
        answer = ours.recv()
    except EOFError:
        child.join()
        if not told:
            said = f"a process of the study ended with code {child.exitcode}: the same command goes on"
            raise TrainingError(said) from None
    child.join()
    returned, error = answer
    if error is not None:
        raise error
    return returned


def _call_and_send(function: Callable[[], T], to: Connection, parent: int) -> None:
    """Call a function, and send what it returns or the error that it raises."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed study must not go on in secret
    if os.getppid() != parent:
        os._exit(1)
    for number in (signal.SIGTERM, signal.SIGUSR1):  # until training handles them
        signal.signal(number, signal.SIG_DFL)
    try:
        to.send((function(), None))
    except (UserError, TrainingError) as error:
        to.send((None, error))
