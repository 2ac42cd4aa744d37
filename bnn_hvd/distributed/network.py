"""Which hosts no longer answer over the network, as the kernel sees it.

A message that a lost network holds back waits in the kernel, which sends it again and again, at growing intervals, for
a quarter of an hour. MPI and Gloo say nothing meanwhile, so this asks the kernel. It knows about TCP alone: a network
that goes around the kernel, as InfiniBand does, is not seen.
"""

import contextlib
import fcntl
import os
import re
import socket
import struct
from pathlib import Path

ESTABLISHED = "01"
RETRIES = 4  # without any answer since: on Linux, the fourth comes at least 3 s after the message
IPV4_IN_IPV6 = bytes(10) + b"\xff\xff"
SIOCGIFADDR = 0x8915  # the address of an interface: netdevice(7)


def addresses() -> list[str]:
    """Return the IPv4 addresses of this host, that of its loopback left out."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has no address
                answer = fcntl.ioctl(any_socket, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in found if not address.startswith("127.")]


def unanswered(process: Path = Path("/proc/self")) -> list[str]:
    """Return the addresses that have not acknowledged, for more than 3 s, what this process has sent to them.

    process: its folder under /proc.
    """
    mine = _sockets(process / "fd")
    found = set()
    for table in ("tcp", "tcp6"):
        for line in _lines(process / "net" / table):
            _, _, peer, state, queues, _, retries, _, _, inode, *_ = line.split()
            waiting = int(queues.split(":")[0], 16)
            if state == ESTABLISHED and inode in mine and waiting and int(retries, 16) >= RETRIES:
                found.add(_address(peer.split(":")[0]))
    return sorted(found)


def _sockets(folder: Path) -> set[str]:
    """Return the inodes of the sockets that are open."""
    found = set()
    with contextlib.suppress(OSError):  # not Linux
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):  # closed meanwhile
                found.update(re.findall(r"socket:\[(\d+)\]", os.readlink(folder / name)))
    return found


def _lines(table: Path) -> list[str]:
    """Return the lines of a table below its title; none where there is no such table."""
    try:
        return table.read_text().splitlines()[1:]
    except OSError:
        return []


def _address(hexadecimal: str) -> str:
    """Return an address as people write it; the kernel prints it in words of four bytes, in the machine's order."""
    words = [int(hexadecimal[i : i + 8], 16) for i in range(0, len(hexadecimal), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    if packed[:-4] == IPV4_IN_IPV6:
        packed = packed[-4:]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
