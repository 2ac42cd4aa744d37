"""Hosts made of Linux namespaces: each has a name, a network and mounts of its own; all are on this machine.

A switch is a network namespace with a bridge for each network, to which every host has one cable (a veth pair). Nothing
of it is outside of these namespaces, and they live as long as the processes that hold them: those die with the process
that made them, however it ends, and the kernel then removes all interfaces, addresses and mounts.

Ranks are forks of one process on each host that has imported TensorFlow (fork_server.py).
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import running

PROGRAMS = ("ip", "tc", "nsenter", "unshare", "setpriv")
PRIVATE = ["setpriv", "--pdeathsig=KILL", "unshare", "--net", "--uts", "--mount"]
MPIRUN = running.HOROVODRUN.with_name("mpirun")


def why_not() -> str:
    """Return why there can be no hosts here, "" if there can."""
    if os.geteuid():
        return "hosts need root: it makes network namespaces"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"{', '.join(missing)} missing: apt-get install -y --no-install-recommends iproute2 util-linux"
    if not MPIRUN.exists():
        return f"hosts need Open MPI, and there is no {MPIRUN}"
    bridge = ["ip", "link", "add", "bridge", "type", "bridge"]
    made = subprocess.run([*PRIVATE[2:], *bridge], capture_output=True, text=True, check=False)
    return f"no namespaces here: {made.stderr.strip()}" if made.returncode else ""


def call(*words: str | Path, inside: int = 0) -> None:
    """Run a command to its end, in the namespaces of the process `inside`."""
    enter = ["nsenter", f"--target={inside}", "--net", "--uts", "--mount"] if inside else []
    subprocess.run([*enter, *map(str, words)], check=True, capture_output=True, text=True, timeout=60)


def hold(name: str) -> subprocess.Popen:
    """Start a process that holds new namespaces, with a host name and a loopback interface."""
    script = f"hostname {name} && ip link set lo up && echo ready && exec sleep infinity"
    holder = subprocess.Popen([*PRIVATE, "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    return holder


class Host:
    """A host. `local` is a folder at a path that all hosts have, with content of its own on each."""

    def __init__(self, index: int, folder: Path):
        self.name, self.folder = f"h{index}", folder
        self.addresses: list[str] = []
        self.holder = hold(self.name)
        self.server: subprocess.Popen | None = None
        (folder / f"{self.name}.pid").write_text(str(self.holder.pid))

    def cable(self, switch: int, networks: int) -> None:
        """Plug this host into each network of the switch: eth0 into the first, and so on."""
        for network in range(networks):
            port, address = f"{self.name}n{network}", f"10.77.{network}.{int(self.name[1:]) + 1}"
            self.addresses.append(address)
            cable = ["ip", "link", "add", port, "type", "veth", "peer", "name", f"eth{network}"]
            call(*cable, "netns", str(self.holder.pid), inside=switch)
            call("ip", "link", "set", port, "master", f"br{network}", "up", inside=switch)
            self.call("ip", "addr", "add", f"{address}/24", "dev", f"eth{network}")
            self.call("ip", "link", "set", f"eth{network}", "up")

    def call(self, *words: str | Path) -> None:
        call(*words, inside=self.holder.pid)

    def prefix(self) -> list[str]:
        """Return the words that start a command on this host."""
        return ["nsenter", f"--target={self.holder.pid}", "--net", "--uts", "--mount", "--"]

    def serve(self, **env: str) -> None:
        """Start the process of whose forks the ranks on this host are; `env` holds for them, too, from their start."""
        self.stop_serving()
        socket = self.folder / f"{self.name}.socket"
        socket.unlink(missing_ok=True)
        words = [*self.prefix(), sys.executable, running.TESTS / "fork_server.py", socket]
        environment = running.environment({"TMPDIR": str(self.folder), "TF_CPP_MIN_LOG_LEVEL": "2", **env})
        self.server = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, start_new_session=True)

    def serving(self) -> None:
        """Wait until ranks can be started."""
        assert self.server
        running.wait_until((self.folder / f"{self.name}.socket").exists, self.server)

    def stop_serving(self) -> None:
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server = None

    def link(self, state: str, network: int = 0) -> None:
        """Set this host's cable into a network `up` or `down`; the other hosts see nothing of it."""
        self.call("ip", "link", "set", f"eth{network}", state)

    def limit(self, *qdisc: str) -> None:
        """Put a queueing discipline of `tc` on eth0, as `tbf rate 100mbit burst 64kb latency 50ms`; none: remove it."""
        action = ["replace", "dev", "eth0", "root", *qdisc] if qdisc else ["del", "dev", "eth0", "root"]
        self.call("tc", "qdisc", *action)

    def dropped(self) -> int:
        """Return how many packets the queueing discipline of eth0 has dropped."""
        shown = subprocess.run(
            [*self.prefix(), "tc", "-json", "-statistics", "qdisc", "show", "dev", "eth0"], check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        return sum(each["drops"] for each in json.loads(shown.stdout))

    def server_children(self) -> list[psutil.Process]:
        """Return the processes of the ranks on this host."""
        assert self.server
        return psutil.Process(self.server.pid).children()

    def processes(self) -> list[psutil.Process]:
        """Return the processes on this host, but for those of the testbed itself."""
        own = {self.holder.pid, self.server.pid if self.server else 0}
        network = os.readlink(f"/proc/{self.holder.pid}/ns/net")
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                there = os.readlink(f"/proc/{process.pid}/ns/net") == network
                if there and process.pid not in own and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def vanish(self) -> None:
        """Lose power: first no more packet leaves this host, then all of its processes end at once."""
        self.link("down")
        self.kill()

    def kill(self) -> None:
        """Kill all processes on this host at once."""
        everyone = self.processes()
        for number in (signal.SIGSTOP, signal.SIGKILL):  # none sees the end of another
            for process in everyone:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def close(self) -> None:
        self.kill()
        self.stop_serving()
        self.holder.kill()
        self.holder.wait()


class Testbed:
    """Hosts h0, h1, ... on common networks, and a folder that all share."""

    __test__ = False  # pytest does not look for tests in it

    def __init__(self, folder: Path, num_hosts: int, networks: int):
        self.folder, self.hosts = folder, [Host(index, folder) for index in range(num_hosts)]
        self.local = folder / "local"
        self.switch = hold("switch")
        for network in range(networks):
            call("ip", "link", "add", f"br{network}", "type", "bridge", inside=self.switch.pid)
            call("ip", "link", "set", f"br{network}", "up", inside=self.switch.pid)
        for host in self.hosts:
            host.cable(self.switch.pid, networks)
        self.write_programs()
        for host in self.hosts:
            host.call("mount", "--bind", folder / "hosts", "/etc/hosts")
            host.call("mount", "--bind", self.disk(host), self.local)
            host.serve()
        for host in self.hosts:
            host.serving()

    def write_programs(self) -> None:
        """Write the names of the hosts, the rsh agent (also as `ssh`) and the interpreter that all hosts have."""
        names = "".join(f"{host.addresses[0]} {host.name}\n" for host in self.hosts)
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n" + names)
        self.local.mkdir()
        for host in self.hosts:
            self.disk(host).mkdir()
        enter = f'nsenter --target="$(cat {self.folder}/$host.pid)" --net --uts --mount'
        # ssh joins the words of a command by blanks, and a shell on the host takes them apart.
        options = "while :; do case $1 in -o) shift 2 ;; -*) shift ;; *) break ;; esac; done"
        # A host that vanishes does not say so: ssh -o ServerAliveInterval=10 ends with 255 half a minute later.
        ended = "code=$?; [ $code = 137 ] && sleep 30 && exit 255; exit $code"
        agent = f'{options}; host=$1; shift; {options}; {enter} -- sh -c "$*"; {ended}'
        client = f'{sys.executable} -I -S {running.TESTS}/fork_client.py {self.folder}/$(hostname).socket "$0" "$@"'
        for name, line in {"ssh": agent, "python": f"exec {client}"}.items():
            (self.folder / name).write_text(f"#!/bin/sh\n{line}\n")
            (self.folder / name).chmod(0o700)

    def disk(self, host: Host) -> Path:
        """Return where the content of a host's `local` is for this process."""
        return self.folder / f"disk_{host.name}"

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a job; a temporary file of the launcher is in the folder of the testbed."""
        environment = running.environment({
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_plm_rsh_agent": str(self.folder / "ssh"),
            "TMPDIR": str(self.folder), **extra,
        })  # fmt: skip
        return environment | {"PATH": f"{self.folder}{os.pathsep}{environment['PATH']}"}

    def start(
        self, *args: str | Path, ranks_per_host: int = 1, launcher: Sequence[str] = (), hosts: Sequence[Host] = (),
        log: Path, fresh: bool = False, **env: str,
    ) -> subprocess.Popen:  # fmt: skip
        """Start `python *args` on all hosts, by a launcher on the first of them; the output goes to `log`.

        launcher: mpirun over TCP, and its options, if none is given. hosts: those of the job, instead of all.
        """
        hosts = hosts or self.hosts
        slots = ",".join(f"{host.name}:{ranks_per_host}" for host in hosts)
        interpreter = sys.executable if fresh else str(self.folder / "python")
        words = [*(launcher or [MPIRUN, "--mca", "btl", "self,vader,tcp"]), "-H", slots]
        words = [str(word) for word in (*words, "-np", len(hosts) * ranks_per_host, interpreter, *args)]
        with log.open("w") as file:
            return subprocess.Popen(
                [*hosts[0].prefix(), *words], env=self.environment(**env), stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def left(self) -> list[str]:
        """Return the processes that a job has left: their host and command."""
        return [f"{host.name}: {' '.join(process.cmdline())}" for host in self.hosts for process in host.processes()]

    def end(self, job: subprocess.Popen, timeout_s: float) -> int:
        """Wait until a job has ended by itself, and nothing is left of it on any host; returns its exit code."""
        deadline = time.monotonic() + timeout_s
        code = job.wait(timeout=timeout_s)
        while left := self.left():
            assert time.monotonic() < deadline, f"after {timeout_s} s there still is {left}"
            time.sleep(0.1)
        return code

    def cut(self, network: int) -> None:
        """Let no more packet through the switch of a network; the interfaces of the hosts see nothing of it."""
        call("ip", "link", "set", f"br{network}", "down", inside=self.switch.pid)

    def mend(self) -> None:
        """End what a test has left on the hosts, and plug all cables of the first network in again, without limits."""
        for host in self.hosts:
            host.kill()
            host.link("up")

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self.switch.kill()
        self.switch.wait()


@contextlib.contextmanager
def connected(num_hosts: int, networks: int) -> Iterator[Testbed]:
    """Make hosts, and remove them and everything that runs on them in the end."""
    folder = Path(tempfile.mkdtemp(prefix="bnn_hvd_hosts_"))
    bed = None
    try:
        bed = Testbed(folder, num_hosts, networks)
        yield bed
    finally:
        if bed:
            bed.close()
        shutil.rmtree(folder, ignore_errors=True)
