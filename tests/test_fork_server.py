"""A forked program behaves like one that was started: arguments, files, environment and exit code are its own."""

import os
import selectors
import socket
import subprocess
import time

import fork_server
import psutil
import pytest
import running


def test_a_program_has_its_words_environment_and_files(tmp_path):
    code = "import os, sys; print(sys.argv, os.environ['COLOUR'], 'OTHER' in os.environ); print('bad', file=sys.stderr)"
    job = running.python("-c", code, "a", "--b=c", env={"COLOUR": "blue"})
    assert (job.returncode, job.stdout, job.stderr) == (0, "['-c', 'a', '--b=c'] blue False\n", "bad\n")
    script = tmp_path / "script.py"
    script.write_text("import os, sys; print(__name__, os.getcwd(), sys.argv, sys.path[0])")
    assert running.python(script, "x", cwd=tmp_path).stdout == f"__main__ {tmp_path} {[str(script), 'x']} {tmp_path}\n"


@pytest.mark.parametrize(
    ("code", "ends"),
    [("import sys; sys.exit(3)", 3), ("raise ValueError('why')", 1), ("import os; os.kill(os.getpid(), 9)", -9)],
)
def test_a_program_ends_as_it_would(code, ends):
    job = running.python("-c", code)
    assert job.returncode == ends
    assert ("ValueError: why" in job.stderr) == (ends == 1)


def test_what_a_program_starts_is_forked_too():
    inner = "import os, sys; print('tensorflow' in sys.modules, os.getppid())"
    outer = f"print(os.getppid(), flush=True); subprocess.run([sys.executable, '-c', {inner!r}])"
    server, inside = running.python("-c", f"import os, subprocess, sys; {outer}").stdout.splitlines()
    assert inside == f"True {server}"


def test_programs_have_nothing_of_each_other():
    """TensorFlow is imported but not initialised: threads, determinism and random numbers are as in a fresh process."""
    code = (
        "import os, tensorflow as tf; from tensorflow.python.eager import context; print(context._context is None, "
        "hasattr(os, 'mark')); os.mark = 1; tf.config.experimental.enable_op_determinism(); tf.random.normal([2])"
    )
    assert [running.python("-c", code).stdout for _ in range(2)] == ["True False\n"] * 2


def test_a_program_is_killed_with_its_client(tmp_path):
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    job = subprocess.Popen(running.command(["-c", code], 1, running.fork_interpreter()), env=running.environment())
    pid = int(running.wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), job))
    assert psutil.pid_exists(pid)
    job.kill()
    job.wait()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert running.python("-c", "").returncode == 0  # the server still runs


def test_a_program_and_its_client_may_end_at_once():
    """The server sends the status of a program to a client that has ended, and goes on."""
    here, there = socket.socketpair()
    selector, program = selectors.DefaultSelector(), os.fork()
    if not program:
        os._exit(0)
    selector.register(here, selectors.EVENT_READ, program)
    there.close()
    os.waitid(os.P_PID, program, os.WEXITED | os.WNOWAIT)  # it has ended, and is reported below
    clients = {program: here}
    fork_server.report(clients, selector)
    assert clients == {}
    assert here.fileno() == -1
    selector.close()
