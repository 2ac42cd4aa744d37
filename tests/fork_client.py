"""Run a program through fork_server.py: `python -I -S fork_client.py SOCKET INTERPRETER -m module --flags`.

A launcher starts this client in place of the program. The program gets the client's open files and environment; when
it has ended, the client ends with the same exit code or signal.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys

LENGTH = struct.Struct("I")


def open_files() -> list[int]:
    """Return the descriptors that a program started here would inherit: stdin, stdout, stderr, and a launcher's own."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor that listdir itself opened is closed again
            if os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def main(path: str, interpreter: str, words: list[str]) -> None:
    files = open_files()
    program = {"interpreter": interpreter, "words": words, "environ": dict(os.environ), "directory": os.getcwd()}
    request = json.dumps({**program, "descriptors": files}).encode()
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    socket.send_fds(server, [LENGTH.pack(len(request))], files)
    server.sendall(request)
    (status,) = LENGTH.unpack(server.recv(LENGTH.size))
    if os.WIFSIGNALED(status):
        with contextlib.suppress(OSError):  # the handler of SIGKILL can't be changed
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:3], sys.argv[3:])
