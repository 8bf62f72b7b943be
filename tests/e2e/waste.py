"""Deleted thick volumes, which are wiped in the background."""

from __future__ import annotations

import time

from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab

WIPE_SECONDS = 120
PAUSE = 0.5


def waste(host: Host) -> list[str]:
    """The logical volumes of a storage host that wait to be wiped."""
    shown = host.exec("lvs", "--noheadings", "-o", "lv_name", "vg0").check().text.split()
    return [name for name in shown if name.startswith("wipe-")]


def wait_until_wiped(lab: Lab) -> None:
    """Wait until nothing is left to wipe on any storage host."""
    deadline = time.monotonic() + WIPE_SECONDS
    for host in lab.hosts.values():
        while host.identity.kind == "storage" and (left := waste(host)):
            assert time.monotonic() < deadline, f"{host.name} did not wipe {left}"
            time.sleep(PAUSE)


def zero_free_extents(host: Host) -> None:
    """For a test that removes by hand what holds data: only the driver's own volumes are wiped."""
    host.exec("lvcreate", "--yes", "--extents", "100%FREE", "--name", "rest", "vg0").check()
    host.exec("blkdiscard", "--zeroout", "/dev/vg0/rest").check()
    host.exec("lvremove", "--yes", "vg0/rest").check()
