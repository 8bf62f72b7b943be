"""Faults: each one is done to the lab, and ends by itself or is taken back by `heal`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.e2e.chaos.world import World
from tests.e2e.lab.host import Host


def _nothing(world: World, node: str) -> None:
    """Nothing is left of the fault."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong on a host."""

    strike: Callable[[Host], object]
    heal: Callable[[Host], object]
    hosts: str
    """The kind of host that it happens to."""

    aftermath: Callable[[World, str], None] = _nothing
    """What is to be done when it is over, on the node of that name."""


def _kill(process: str) -> Callable[[Host], object]:
    # pkill's 1, nothing was running, is fine: it is being started again.
    return lambda host: host.exec("pkill", "-KILL", "-f", process)


FAULTS: Mapping[str, Fault] = {
    "storage role killed": Fault(_kill("csi_lvm_iscsi storage"), Host.wait_ready, "storage"),
    "tgtd killed": Fault(_kill("tgtd -f"), Host.wait_ready, "storage"),
    "controller killed": Fault(_kill("csi_lvm_iscsi controller"), Host.wait_ready, "storage"),
    "storage host without power": Fault(Host.cut, Host.boot, "storage"),
    "storage host without network": Fault(Host.partition, Host.heal, "storage"),
    "node role killed": Fault(_kill("csi_lvm_iscsi node"), Host.wait_ready, "compute"),
    "iscsid killed": Fault(_kill("iscsid -f"), Host.wait_ready, "compute"),
    "compute host without power": Fault(Host.cut, Host.boot, "compute", World.lost_power),
    "compute host without network": Fault(Host.partition, Host.heal, "compute"),
}
