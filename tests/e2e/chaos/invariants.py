"""What must hold whenever nothing is under way: just what is wanted is there, once."""

from __future__ import annotations

from collections import Counter

from csi_lvm_iscsi.model import names
from tests.e2e.chaos.world import World
from tests.e2e.lab.host import Host
from tests.e2e.waste import wait_until_wiped

# Origins that were deleted, and are kept for their snapshots, are not listed.
LISTED = "lvs --noheadings -o lv_name vg0 | awk '{print $1}' | grep -vE '^(pool|wipe-.*)$'"
TARGETS = "tgtadm --mode target --op show | sed -n 's/^Target [0-9]*: //p'"
SESSIONS = "cat /sys/class/iscsi_session/*/targetname 2>/dev/null"


def check(world: World) -> None:
    """Raise AssertionError where something is missing, is there twice, or is nobody's."""
    if not world.snapshots:
        wait_until_wiped(world.lab)
    assert _everywhere(world, "storage", LISTED) == Counter(
        [known.volume.id for known in world.volumes] + [taken.id for taken in world.snapshots]
    ), "logical volumes"
    attached = [known for known in world.volumes if known.node]
    targets = Counter(names.target_iqn(known.volume.id) for known in attached)
    assert _everywhere(world, "storage", TARGETS) == targets, "targets"
    for host in world.lab.hosts.values():
        if host.identity.kind == "compute":
            here = [known.volume.id for known in attached if known.node == host.name]
            expected = Counter(map(names.target_iqn, here))
            assert _lines(host, SESSIONS) == expected, f"sessions of {host.name}"


def _everywhere(world: World, kind: str, question: str) -> Counter[str]:
    hosts = [host for host in world.lab.hosts.values() if host.identity.kind == kind]
    return sum((_lines(host, question) for host in hosts), Counter())


def _lines(host: Host, question: str) -> Counter[str]:
    return Counter(line.strip() for line in host.exec("sh", "-c", question).text.splitlines())
