"""Run Python programs in forks of one process that has imported TensorFlow: `python fork_server.py SOCKET`.

An import of TensorFlow takes seconds; a fork of a process that has imported it takes milliseconds. Programs share
nothing else: each is a process of its own, with the environment, the directory and the open files of the client that
asks for it (fork_client.py). A program is killed when its client has ended. The server ends, and kills all programs,
when its stdin is closed.
"""

import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple

# The modules that programs import and that take long to import.
IMPORTED = (
    "tensorflow", "tensorflow_probability", "horovod.tensorflow", "matplotlib.backends.backend_agg", "PIL.Image",
    "scipy.stats", "sklearn.datasets",
)  # fmt: skip
LENGTH = struct.Struct("I")  # the length of a request; the answer, a wait status, has the same form
MOST_FILES = 250  # the largest number of descriptors that one message can carry (253 on Linux), rounded down


class Request(NamedTuple):
    """A program that a client asks for; `words` are the arguments after `interpreter`."""

    interpreter: str  # the program's sys.executable: what it starts with it is forked too
    words: list[str]
    environ: dict[str, str]
    directory: str
    descriptors: list[int]  # the client's numbers of its open files
    files: list[int]  # the same files here


def main(path: str) -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # the garbage collector leaves these objects alone, so that their memory stays shared by the forks
    request = serve(path)
    if request:
        run(request)


def serve(path: str) -> Request | None:
    """Fork for every client; returns the client's request in the fork, and None in the server when it ends."""
    listener, (children_ended, from_signal) = socket.socket(socket.AF_UNIX), socket.socketpair()
    listener.bind(path)
    listener.listen(64)
    from_signal.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(from_signal.fileno())
    selector = selectors.DefaultSelector()
    for source in (listener, children_ended, sys.stdin):
        selector.register(source, selectors.EVENT_READ)
    clients: dict[int, socket.socket] = {}  # by the id of the process that runs a client's program
    while True:
        for key, _ in selector.select():
            source = key.fileobj
            if source is listener:
                client, _ = listener.accept()
                request = receive(client)
                pid = os.fork()
                if not pid:
                    for each in (selector, listener, children_ended, from_signal, client, *clients.values()):
                        each.close()
                    return request
                for file in request.files:
                    os.close(file)
                clients[pid] = client
                selector.register(client, selectors.EVENT_READ, pid)
            elif source is children_ended:
                children_ended.recv(4096)
                report(clients, selector)
            elif source is sys.stdin:
                for pid in clients:
                    os.kill(pid, signal.SIGKILL)
                return None
            elif (
                clients.get(key.data) is source
            ):  # it sends nothing after its request: readable means that it has ended
                os.kill(key.data, signal.SIGKILL)
                selector.unregister(source)


def receive(client: socket.socket) -> Request:
    head, files, *_ = socket.recv_fds(client, LENGTH.size, MOST_FILES)
    (length,) = LENGTH.unpack(head)
    with client.makefile("rb") as stream:
        return Request(**json.loads(stream.read(length)), files=files)


def report(clients: dict[int, socket.socket], selector: Any) -> None:
    """Send the wait status of each program that has ended to its client."""
    for pid in list(clients):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            continue
        client = clients.pop(pid)
        if client.fileno() in selector.get_map():
            selector.unregister(client)
            with contextlib.suppress(BrokenPipeError):  # it has ended, and nobody waits for the status
                client.send(LENGTH.pack(status))
        client.close()


def run(request: Request) -> None:
    """Turn this process into the program that was asked for."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    free = max(request.descriptors + request.files) + 1
    files = [fcntl.fcntl(file, fcntl.F_DUPFD, free) for file in request.files]  # above all numbers that are needed
    for file in request.files:
        os.close(file)
    for descriptor, file in zip(request.descriptors, files, strict=True):
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(request.environ)
    os.chdir(request.directory)
    sys.executable = request.interpreter
    option, *words = request.words
    if option == "-m":
        sys.path[0], sys.argv = os.getcwd(), words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.path[0], sys.argv = "", ["-c", *words[1:]]
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0], sys.argv = str(Path(option).parent), [option, *words]
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
