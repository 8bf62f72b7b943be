"""What runs in the hosts: tgtd, iscsid, the lab's agent and the driver's roles, as tables."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.e2e.lab.topology import (
    CSI_SOCKETS,
    DATA_NETWORK,
    METRICS_PORTS,
    STORAGE_API_PORT,
    HostName,
)

CHECKOUT = Path(__file__).resolve().parents[3]

CONFIG = "/etc/csi-lvm-iscsi"
STATE = "/var/lib/csi-lvm-iscsi"
KUBERNETES = "/etc/kubernetes"

PORTAL_NETWORKS = "/run/lab/portal-networks"
"""CIDRs, for tests of a storage host with several portals: the role reads it when it starts."""

ENVIRONMENT = {
    "PYTHONPATH": str(CHECKOUT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}


Content = Literal["bare", "roles", "contained", "containerd", "kubelet"]
"""What runs in a lab's hosts beside the lab's agent, iscsid and tgtd: nothing, the driver's roles,
the same in containers, a container runtime alone, or kubelet, whose pods bring tgtd and roles."""


@dataclass(frozen=True)
class Service:
    """A process that a host starts, and starts again whenever it ends."""

    name: str
    command: tuple[str, ...]
    endpoint: str | None = None
    """A unix socket's path or ADDRESS:PORT that accepts connections once it is ready."""
    needs: str | None = None
    """A file to wait for before it starts."""
    portal_networks: str | None = None
    """The network of its portals, unless the file PORTAL_NETWORKS in the host lists others."""

    def script(self) -> str:
        """The shell script that becomes the service."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in ENVIRONMENT.items()]
        lines.append("cd /")
        if self.needs:
            lines.append(f"until [ -s {shlex.quote(self.needs)} ]; do sleep 0.2; done")
        command = shlex.join(self.command)
        if self.portal_networks:
            lines.append(f"networks=$(cat {PORTAL_NETWORKS} 2>/dev/null)")
            lines.append(f"networks=${{networks:-{self.portal_networks}}}")
            command += " $(printf -- '--portal-network %s ' $networks)"
        lines.append(f"exec {command}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class ServiceState:
    """What a host's agent says of a service."""

    pid: int
    """Of its process inside the host; 0 while there is none."""
    restarts: int
    """How often it has ended since the host booted."""
    ready: bool


def services(host: HostName, content: Content) -> list[Service]:
    """The services of a host."""
    # A storage host is an initiator too: it copies volumes from others.
    table = [_agent(host), _iscsid()]
    if content in ("containerd", "kubelet"):
        return [*table, _containerd(), *([_kubelet(host)] if content == "kubelet" else [])]
    if host.kind == "storage":
        table.append(_tgtd())
    return table if content == "bare" else table + _roles(host)


def _agent(host: HostName) -> Service:
    return Service("agent", _python("-S", "-m", "tests.e2e.lab.agent", host.management_address))


def _tgtd() -> Service:
    # tgtd cannot start without a portal; the real one is added last, when all targets are there.
    return Service(
        "tgtd",
        ("tgtd", "-f", "--iscsi", "portal=127.0.0.1:3299", "-t", "4"),
        endpoint="/var/run/tgtd/socket.0",
    )


def _iscsid() -> Service:
    return Service("iscsid", ("iscsid", "-f"))


def _containerd() -> Service:
    return Service(
        "containerd",
        ("containerd", "--config", f"{KUBERNETES}/containerd.toml"),
        endpoint="/run/containerd/containerd.sock",
    )


def _kubelet(host: HostName) -> Service:
    return Service(
        "kubelet",
        (
            f"{KUBERNETES}/bin/kubelet",
            f"--config={KUBERNETES}/kubelet.yaml",
            f"--kubeconfig={KUBERNETES}/kubeconfig",
            f"--hostname-override={host}",
            f"--node-ip={host.data_address}",
        ),
        endpoint="127.0.0.1:10248",
    )


def _roles(host: HostName) -> list[Service]:
    if host.kind == "compute":
        return [_node(host)]
    return [_storage(host), _controller(host)] if host.number == 1 else [_storage(host)]


def _storage(host: HostName) -> Service:
    listen = f"{host.data_address}:{STORAGE_API_PORT}"
    return _role(
        host, "storage", listen,
        "--node-id", str(host),
        "--listen", listen,
        "--tls-dir", f"{CONFIG}/tls",
        "--chap-keys", f"{CONFIG}/chap-keys",
        "--state-dir", STATE,
        "--thin-pool", "vg0/pool",
        "--thick", "vg0",
        portal_networks=f"{DATA_NETWORK}.0/24",
    )  # fmt: skip


def _controller(host: HostName) -> Service:
    socket = CSI_SOCKETS["controller"].path
    inventory = f"{CONFIG}/inventory.json"
    return _role(
        host, "controller", socket,
        "--endpoint", f"unix://{socket}",
        "--inventory", inventory,
        "--tls-dir", f"{CONFIG}/client-tls",
        needs=inventory,
    )  # fmt: skip


def _node(host: HostName) -> Service:
    socket = CSI_SOCKETS["node"].path
    return _role(
        host, "node", socket,
        "--endpoint", f"unix://{socket}",
        "--node-id", str(host),
        "--chap-keys", f"{CONFIG}/chap-keys",
        "--state-dir", STATE,
    )  # fmt: skip


def _role(
    host: HostName,
    name: str,
    endpoint: str,
    *options: str,
    needs: str | None = None,
    portal_networks: str | None = None,
) -> Service:
    metrics = f"{host.management_address}:{METRICS_PORTS[name]}"
    command = _python("-m", "csi_lvm_iscsi", name, *options, "--metrics", metrics)
    return Service(name, command, endpoint, needs, portal_networks)


def _python(*arguments: str) -> tuple[str, ...]:
    """The Python that runs the lab; the hosts see it at the same path."""
    return (sys.executable, *arguments)
