"""Stand for a program that fork_server.py runs: `python -I -S fork_client.py SOCKET INTERPRETER -m module --flags`.

A launcher starts this in place of the program, which has its open files and environment, and ends as it does.
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
    """Return the descriptors that a program started here would have: stdin, stdout, stderr, and a launcher's own."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of this listing
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
        with contextlib.suppress(OSError):  # SIGKILL is always itself
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:3], sys.argv[3:])
