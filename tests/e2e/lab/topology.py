"""Names, addresses and ports of a lab: everything that follows from a host's name."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["storage", "compute"]

DATA_NETWORK = "10.77.0"
"""iSCSI and the driver's own API. A partition cuts a host off this one."""

MANAGEMENT_NETWORK = "10.78.0"
"""The lab's agent and the CSI sockets. Never partitioned."""

AGENT_PORT = 7010

STORAGE_API_PORT = 9740
ISCSI_PORT = 3260
METRICS_PORTS = {"controller": 7021, "node": 7022, "storage": 7023}
"""Of each role, on the management network."""

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
    def management_address(self) -> str:
        return f"{MANAGEMENT_NETWORK}.{self.last_octet}"

    @property
    def data_tap(self) -> str:
        return f"data-{self}"

    @property
    def management_tap(self) -> str:
        return f"mgmt-{self}"


def mac_address(ip_address: str) -> str:
    """A locally administered MAC address that survives reboots, as neighbours cache it."""
    return "02:00:" + ":".join(f"{int(octet):02x}" for octet in ip_address.split("."))
