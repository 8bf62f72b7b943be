"""A lab's network: one network namespace with two data bridges and a management bridge."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.e2e.lab.errors import LabError
from tests.e2e.lab.topology import (
    API_SERVER,
    DATA2_NETWORK,
    DATA_NETWORK,
    MANAGEMENT_NETWORK,
    DataNetwork,
    HostName,
)

DATA_BRIDGE = "data"
DATA2_BRIDGE = "data2"
MANAGEMENT_BRIDGE = "management"

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """The network namespace `namespace`, which need not exist yet."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.path = Path("/run/netns") / namespace

    def exists(self) -> bool:
        return self.path.exists()

    def create(self, hosts: Iterable[HostName]) -> None:
        """Make the namespace, its bridges and three taps per host."""
        _ip("netns", "add", self.namespace)
        commands = ["link set lo up"]
        bridges = (
            (DATA_BRIDGE, DATA_NETWORK),
            (DATA2_BRIDGE, DATA2_NETWORK),
            (MANAGEMENT_BRIDGE, MANAGEMENT_NETWORK),
        )
        for bridge, prefix in bridges:
            commands += [
                f"link add {bridge} type bridge",
                f"addr add {prefix}.1/24 dev {bridge}",
                f"link set {bridge} up",
            ]
        for host in hosts:
            for tap, bridge in _ports(host):
                commands += [f"tuntap add {tap} mode tap", f"link set {tap} master {bridge} up"]
        _ip("-n", self.namespace, "-batch", "-", commands=commands)

    def add_cluster(self, hosts: Iterable[HostName]) -> None:
        """Let the hosts' pods and a control plane in the namespace reach each other.

        There is no kube-proxy: the API server's service address is simply one of the namespace.
        """
        routes = [f"route add {host.pod_network} via {host.data_address}" for host in hosts]
        address = f"addr add {API_SERVER}/32 dev {DATA_BRIDGE}"
        _ip("-n", self.namespace, "-batch", "-", commands=[address, *routes])
        # Hosts know no way to each other's pods: they send what is for them here.
        forward = self.command("sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1")
        subprocess.run(forward, check=True)

    def command(self, *argv: str) -> list[str]:
        """What runs a command inside the namespace."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def delete(self) -> None:
        """Remove the namespace and all in it, if it exists."""
        if self.exists():
            _ip("netns", "delete", self.namespace)

    def partition(self, host: HostName, network: DataNetwork) -> None:
        """Take the host's port of a data network off its bridge; its other ports stay."""
        tap, _ = _data_port(host, network)
        _ip("-n", self.namespace, "link", "set", tap, "nomaster")

    def heal(self, host: HostName, network: DataNetwork) -> None:
        """Put the host's port back on its bridge."""
        tap, bridge = _data_port(host, network)
        _ip("-n", self.namespace, "link", "set", tap, "master", bridge)

    def is_partitioned(self, host: HostName, network: DataNetwork) -> bool:
        tap, _ = _data_port(host, network)
        return "master" not in _ip("-n", self.namespace, "link", "show", tap)

    def enter(self) -> None:
        """Move the calling thread, and threads it starts from now on, into the namespace."""
        with self._open() as namespace:
            _setns(namespace)

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """A TCP connection made inside the namespace; the caller stays where it is."""
        with self._entered():
            connection = socket.socket(socket.AF_INET)
        try:
            connection.settimeout(timeout)
            connection.connect((address, port))
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """Be inside for a moment. A namespace is a thread's own, so no other thread notices."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.enter()
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        try:
            namespace = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise LabError(f"There is no network {self.namespace}: is the lab up?") from None
        try:
            yield namespace
        finally:
            os.close(namespace)


def _data_port(host: HostName, network: DataNetwork) -> tuple[str, str]:
    ports = {"data": (host.data_tap, DATA_BRIDGE), "data2": (host.data2_tap, DATA2_BRIDGE)}
    return ports[network]


def _ports(host: HostName) -> tuple[tuple[str, str], ...]:
    return (
        (host.data_tap, DATA_BRIDGE),
        (host.data2_tap, DATA2_BRIDGE),
        (host.management_tap, MANAGEMENT_BRIDGE),
    )


def _setns(fd: int) -> None:
    # Python has os.setns only from 3.12 on.
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _ip(*arguments: str, commands: Iterable[str] = ()) -> str:
    done = subprocess.run(
        ["ip", *arguments],
        input="".join(f"{command}\n" for command in commands),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout
