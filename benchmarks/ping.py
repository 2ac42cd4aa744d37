"""Print the seconds of a small TCP message: `ping.py ADDRESS listen` on the host of that address, `ping.py ADDRESS`."""

import contextlib
import socket
import statistics
import sys
import time

PORT, TIMES = 20300, 200


def connected(address: str) -> socket.socket:
    """Connect to the listener, which may be late."""
    for _ in range(100):
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((address, PORT))
        time.sleep(0.05)
    raise TimeoutError(address)


def main(address: str, listen: bool) -> None:
    if listen:
        with socket.create_server((address, PORT)) as server:
            there, _ = server.accept()
    else:
        there = connected(address)
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    round_trips = []
    with there:
        for _ in range(TIMES):
            start = time.perf_counter()
            if not listen:
                there.sendall(b"x")
            there.recv(1)
            if listen:
                there.sendall(b"x")
            round_trips.append(time.perf_counter() - start)
    if not listen:
        print(statistics.median(round_trips) / 2)


if __name__ == "__main__":
    main(sys.argv[1], "listen" in sys.argv)
