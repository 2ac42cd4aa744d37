"""What the kernel says of connections whose peers do not answer. tests/hosts has a network that is really cut."""

import os
import socket
from pathlib import Path

import pytest

from bnn_hvd.distributed import network

HEAD = "sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(peer: str, state: str = "01", waiting: int = 100, retries: int = network.RETRIES, inode: int = 7) -> str:
    queues = f"{waiting:08X}:00000000"
    return f"0: 0100007F:1F90 {peer}:1F90 {state} {queues} 01:00000010 {retries:08X} 0 0 {inode} 1 0 20 4 30 10 -1\n"


@pytest.fixture
def process(tmp_path):
    """A process with one socket, and a function that writes its table of connections."""
    (tmp_path / "fd").mkdir()
    (tmp_path / "fd" / "3").symlink_to("socket:[7]")
    (tmp_path / "net").mkdir()

    def write(*rows: str, table: str = "tcp"):
        (tmp_path / "net" / table).write_text(HEAD + "".join(rows))
        return tmp_path

    return write


def test_a_peer_that_does_not_acknowledge_is_named(process):
    process(row("0200000A"), row("0200000A"))
    folder = process(row("0000000000000000FFFF00000300000A"), row("B80D0120000000000000000001000000"), table="tcp6")
    assert network.unanswered(folder) == ["10.0.0.2", "10.0.0.3", "2001:db8::1"]


@pytest.mark.parametrize(
    "change", [{"state": "0A"}, {"waiting": 0}, {"retries": network.RETRIES - 1}, {"inode": 8}], ids=str
)
def test_others_are_not(process, change):
    """A listener; nothing to acknowledge; a packet that was lost now and then; a socket of another process."""
    assert network.unanswered(process(row("0200000A", **change))) == []


def test_the_sockets_of_this_process_are_known_and_a_healthy_one_answers():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"hello")
        assert str(os.fstat(client.fileno()).st_ino) in network._sockets(Path("/proc/self/fd"))
        assert network.unanswered() == []


def test_addresses_leave_out_the_loopback():
    assert not [address for address in network.addresses() if address.startswith("127.")]
    assert all(socket.inet_aton(address) for address in network.addresses())
