"""A function in a fork of this process: what it returns, what it raises, and how it ends."""

import os
import signal
import time

import pytest

from bnn_hvd.errors import TrainingError, UserError
from bnn_hvd.studies.comparison import child
from bnn_hvd.training.stopping import StopRequest


@pytest.fixture
def stop():
    with StopRequest(0) as stop:
        yield stop


def refuse():
    raise UserError("a mistake")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def wait_to_be_stopped():
    with StopRequest(0) as stop:
        os.kill(os.getppid(), signal.SIGTERM)
        while not stop.requested():
            time.sleep(0.01)
    return "stopped"


def test_a_function_runs_in_another_process(stop):
    assert child.call(os.getpid, stop) != os.getpid()
    assert child.call(lambda: {"answer": [1, 2]}, stop) == {"answer": [1, 2]}


def test_what_it_raises_is_raised_here(stop):
    with pytest.raises(UserError, match="a mistake"):
        child.call(refuse, stop)


def test_a_process_that_is_killed_is_an_error(stop):
    with pytest.raises(TrainingError, match="ended with code -9: the same command goes on"):
        child.call(die, stop)


def test_a_request_to_stop_is_passed_on(stop):
    """The function sends it to this process, and returns when it gets it."""
    assert child.call(wait_to_be_stopped, stop) == "stopped"
    assert stop.requested()


def test_a_function_that_does_not_listen_is_ended(stop):
    def sleep():
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)

    assert child.call(sleep, stop) is None
