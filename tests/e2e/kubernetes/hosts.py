"""What the cluster's hosts have of the driver's volumes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab

QUESTIONS = {
    "logical volume": "lvs --noheadings -o lv_name vg0 2>/dev/null | grep -v ' pool'",
    "grant": "ls /var/lib/csi-lvm-iscsi/grants 2>/dev/null",
    "session": "ls /sys/class/iscsi_session 2>/dev/null",
    "staged record": "ls /var/lib/csi-lvm-iscsi/staged 2>/dev/null",
    "mount": "grep /dev/sd /proc/self/mountinfo",
}


def left_of_volumes(lab: Lab) -> list[str]:
    """All there is of volumes, as `HOST: KIND: WHAT`."""
    with ThreadPoolExecutor() as threads:
        return [line for lines in threads.map(_left_on, lab.hosts.values()) for line in lines]


def logical_volumes(lab: Lab) -> dict[str, str]:
    """The host of each logical volume of the driver's, by the volume's name."""
    return {
        line.split(": ")[2]: host
        for host in lab.hosts
        for line in _left_on(lab.host(host))
        if ": logical volume: " in line
    }


def _left_on(host: Host) -> list[str]:
    script = "\n".join(
        f"{question} | sed 's/^ */{host.name}: {kind}: /'" for kind, question in QUESTIONS.items()
    )
    return host.exec("bash", "-c", script).text.splitlines()
