"""What is left in the hosts of the driver's work: nothing, when every volume is deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import get_args

from tests.e2e.driver import DIRECTORY, Driver
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.topology import DataNetwork

# The sockets of this name that do not listen: those who asked are gone, and tgtd, which is given
# time for it, does not let go of them.
TGTD_CONNECTIONS = "grep tgtd.socket.0$ /proc/net/unix | grep -v ' 00010000 '"
GIVE_TGTD_TIME = f"""
for _ in $(seq 100); do
    [ -n "$({TGTD_CONNECTIONS})" ] || break
    sleep 0.05
done
"""
# Each question prints one line for each thing that is there, and nothing where there is none.
STORAGE = {
    "logical volume": "lvs --noheadings -o lv_name vg0 | grep -v ' pool'",
    "target": "tgtadm --mode target --op show | grep ^Target",
    "CHAP account": "tgtadm --mode account --op show | grep -v '^Account list'",
    "tgtd connection": TGTD_CONNECTIONS,
    "grant": "ls /var/lib/csi-lvm-iscsi/grants",
    "copy": "ls /var/lib/csi-lvm-iscsi/copies",
    "session": "ls /sys/class/iscsi_session",
    "iscsiadm record": "[ ! -e /etc/iscsi/nodes ] || ls /etc/iscsi/nodes",
}
COMPUTE = {
    "session": "ls /sys/class/iscsi_session",
    "device": "ls /sys/block | grep ^sd",
    "map": "dmsetup ls | grep ^CSILVM",
    "iscsiadm record": "[ ! -e /etc/iscsi/nodes ] || ls /etc/iscsi/nodes",
    "half a record": "ls -A /etc/iscsi | grep new$",
    "staged record": "ls /var/lib/csi-lvm-iscsi/staged",
    "mount": "grep -E ' /run/test/|/dev/sd' /proc/self/mountinfo",
    "published path": "[ ! -e /run/test/published ] || ls /run/test/published",
}
# grep's: no line was found. Any other status says that the question was not answered.
NOTHING_FOUND = 1
CLEAR_COMPUTE = """
umount -l "$1"/published/* "$1"/staging/*
dmsetup remove --force $(dmsetup ls | grep -o '^CSILVM[^[:space:]]*')
iscsiadm -m node -u
rm -rf "$1"/* /etc/iscsi/nodes/* /var/lib/csi-lvm-iscsi/staged/*
"""


def questions(host: Host) -> dict[str, str]:
    """What is asked of a host of this kind."""
    return STORAGE if host.identity.kind == "storage" else COMPUTE


def leftovers(lab: Lab) -> list[str]:
    """Everything that is left, as `HOST: KIND: WHAT`."""
    with ThreadPoolExecutor() as threads:
        return [line for lines in threads.map(_left_on, lab.hosts.values()) for line in lines]


def clear(lab: Lab, driver: Driver) -> None:
    """Take away what a failed test left, so that the next one fails for its own reasons only."""
    for host in lab.hosts.values():
        for network in get_args(DataNetwork):
            host.heal(network)
        if host.pid is None:
            host.boot()
        if host.identity.kind == "compute":
            host.exec("sh", "-c", CLEAR_COMPUTE, "sh", DIRECTORY)
    for entry in driver.controller("ListVolumes").get("entries", []):
        volume_id = entry["volume"]["volumeId"]
        driver.controller("ControllerUnpublishVolume", volume_id=volume_id)
        driver.controller("DeleteVolume", volume_id=volume_id)
    for entry in driver.controller("ListSnapshots").get("entries", []):
        driver.controller("DeleteSnapshot", snapshot_id=entry["snapshot"]["snapshotId"])


def _left_on(host: Host) -> list[str]:
    """Ask a host all questions at once. Fails where one is not answered: that is not "nothing"."""
    script = GIVE_TGTD_TIME + "\n".join(
        f"answer=$({question}) || [ $? = {NOTHING_FOUND} ] || exit\n"
        f'[ -z "$answer" ] || sed \'s/^ */{host.name}: {kind}: /\' <<<"$answer"'
        for kind, question in questions(host).items()
    )
    return host.exec("bash", "-o", "pipefail", "-c", script).check().text.splitlines()
