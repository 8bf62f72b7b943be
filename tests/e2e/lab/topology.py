"""Names, addresses and ports of a lab: everything that follows from a host's name."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["storage", "compute"]

DATA_NETWORK = "10.77.0"
"""iSCSI and the driver's own API. A partition cuts a host off this one, if no other is named."""

DATA_NETWORK_6 = "fd77::"
"""The same network's IPv6 addresses."""

DATA2_NETWORK = "10.79.0"
"""A second way between the hosts, for iSCSI with several portals."""

MANAGEMENT_NETWORK = "10.78.0"
"""The lab's agent and the CSI sockets. Never partitioned."""

POD_NETWORK = "10.88"
"""Pods of a host have a network of 256 addresses in it, after the host's number."""

API_SERVER = "10.96.0.1"
"""Where pods find the API server, as the first address of the services' network."""

AGENT_PORT = 7010

STORAGE_API_PORT = 9740
METRICS_PORTS = {"controller": 7021, "node": 7022, "storage": 7023}
"""Of each role, on the management network."""

DataNetwork = Literal["data", "data2"]
"""The networks that a host can be taken off."""

FIRST_ADDRESS: dict[Kind, int] = {"storage": 10, "compute": 100}
MAX_HOSTS: dict[Kind, int] = {"storage": 80, "compute": 99}
"""Beyond these, names of taps or addresses would not fit."""


class CsiSocket(NamedTuple):
    """A CSI unix socket inside a host, and the management port it is relayed from."""

    path: str
    port: int


CSI_SOCKETS = {
    "controller": CsiSocket("/run/csi-lvm-iscsi/controller.sock", 7011),
    "node": CsiSocket("/run/csi-lvm-iscsi/node.sock", 7012),
}


class HostName(NamedTuple):
    """`storage-1`, `compute-2`: what kind of host, and which one (from 1)."""

    kind: Kind
    number: int

    @classmethod
    def parse(cls, text: str) -> HostName:
        """The name written as `text`; ValueError if no host could be called so."""
        match = re.fullmatch(r"(storage|compute)-([1-9][0-9]?)", text)
        if not match:
            raise ValueError(f"{text!r} is not a host's name: use storage-N or compute-N")
        kind: Kind = "storage" if match[1] == "storage" else "compute"
        return cls(kind, int(match[2]))

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}"

    @property
    def last_octet(self) -> int:
        """What tells this host's addresses from the others', the same on both networks."""
        return FIRST_ADDRESS[self.kind] + self.number

    @property
    def data_address(self) -> str:
        return f"{DATA_NETWORK}.{self.last_octet}"

    @property
    def data6_address(self) -> str:
        """With the same digits, though they are hexadecimal there."""
        return f"{DATA_NETWORK_6}{self.last_octet}"

    @property
    def data2_address(self) -> str:
        return f"{DATA2_NETWORK}.{self.last_octet}"

    @property
    def management_address(self) -> str:
        return f"{MANAGEMENT_NETWORK}.{self.last_octet}"

    @property
    def pod_network(self) -> str:
        return f"{POD_NETWORK}.{self.last_octet}.0/24"

    @property
    def data_tap(self) -> str:
        return f"data-{self}"

    @property
    def data2_tap(self) -> str:
        return f"dat2-{self}"

    @property
    def management_tap(self) -> str:
        return f"mgmt-{self}"


def mac_address(ip_address: str) -> str:
    """A locally administered MAC address that survives reboots, as neighbours cache it."""
    return "02:00:" + ":".join(f"{int(octet):02x}" for octet in ip_address.split("."))
