"""Run Python programs in forks of one process that has imported TensorFlow: `python fork_server.py SOCKET`.

To import TensorFlow takes seconds; to fork a process that has done so, milliseconds. Nothing else is shared: a program
has a process of its own, with the environment, the directory and the open files of the client that asks for it
(fork_client.py). It is killed when its client is gone. The server ends, and kills all, when its stdin is closed.
"""

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

# What programs import, and takes long.
IMPORTED = (
    "tensorflow", "tensorflow_probability", "horovod.tensorflow", "matplotlib.backends.backend_agg", "PIL.Image",
    "scipy.stats", "sklearn.datasets",
)  # fmt: skip
LENGTH = struct.Struct("I")  # of a request; the answer is a wait status of the same form
MOST_FILES = 250  # that one message can carry


class Request(NamedTuple):
    """A program as a client asks for it: `words` is what follows `interpreter`."""

    interpreter: str  # a program that starts others with it, as its own, has them forked too
    words: list[str]
    environ: dict[str, str]
    directory: str
    descriptors: list[int]  # the client's numbers of its open files
    files: list[int]  # the same files here


def main(path: str) -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # what is here stays in memory that the forks share
    request = serve(path)
    if request:
        run(request)


def serve(path: str) -> Request | None:
    """Fork for every client; returns its request in the fork, None in the server at the end."""
    listener, (children_ended, from_signal) = socket.socket(socket.AF_UNIX), socket.socketpair()
    listener.bind(path)
    listener.listen(64)
    from_signal.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(from_signal.fileno())
    selector = selectors.DefaultSelector()
    for source in (listener, children_ended, sys.stdin):
        selector.register(source, selectors.EVENT_READ)
    clients: dict[int, socket.socket] = {}  # by the process that runs for each
    while True:
        for source in [key.fileobj for key, _ in selector.select()]:
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
            else:  # a client has nothing more to say: it is gone
                (pid,) = [pid for pid, client in clients.items() if client is source]
                os.kill(pid, signal.SIGKILL)
                selector.unregister(source)


def receive(client: socket.socket) -> Request:
    head, files, *_ = socket.recv_fds(client, LENGTH.size, MOST_FILES)
    (length,) = LENGTH.unpack(head)
    with client.makefile("rb") as stream:
        return Request(**json.loads(stream.read(length)), files=files)


def report(clients: dict[int, socket.socket], selector: Any) -> None:
    """Tell the clients whose programs have ended how they did."""
    for pid in list(clients):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            continue
        client = clients.pop(pid)
        if client.fileno() in selector.get_map():
            selector.unregister(client)
            client.send(LENGTH.pack(status))
        client.close()


def run(request: Request) -> None:
    """Become the program."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    free = max(request.descriptors + request.files) + 1
    files = [fcntl.fcntl(file, fcntl.F_DUPFD, free) for file in request.files]  # out of the way of all descriptors
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
