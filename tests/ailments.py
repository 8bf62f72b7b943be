"""What can be wrong with a host, made so in the lab: each is recorded there, and played back in the
unit tests. `{target}` and `{portal}` stand for the volume's; `python` for the lab's own."""

from __future__ import annotations

from dataclasses import dataclass

from csi_lvm_iscsi.model.findings import Level

# The lab's supervisor starts what ends; while it is stopped, it does not.
_HOLD = "daemon=$(pgrep -x {0}); keeper=$(ps -o ppid= -p $daemon); kill -STOP $keeper"
_LET_GO = "pkill -9 -x {0}; pkill -CONT -f lab/host.sh"
_HOLD_TGTD, _LET_GO_TGTD = _HOLD.format("tgtd"), _LET_GO.format("tgtd")
# It stays as a zombie, as its parent is the supervisor. Its first thread may be one while others
# have its sockets still.
_DIE = '; kill -9 $daemon; until [ "$(ps -L -o s= -p $daemon)" = Z ]; do sleep 0.1; done'
_LISTEN = (
    "python -c 'import signal, socket; s = socket.create_server((\"\", 3260)); signal.pause()'"
)
_KEEP_LVM = "cp -a /etc/lvm /run/lvm-before"
_RESTORE_LVM = "rm -rf /etc/lvm; mv /run/lvm-before /etc/lvm"
_SEE_ALL = (
    "echo 'devices { global_filter = [ \"a|.*|\" ] scan_lvs = 1 } activation { monitoring = 0 }' "
    "> /etc/lvm/lvm.conf"
)


@dataclass(frozen=True)
class Ailment:
    """Something wrong."""

    name: str
    role: str
    make: str
    """A shell script that makes it so."""

    check: str
    level: Level
    says: str
    """Part of what the doctor finds."""

    fix: str
    """Part of the fix that it tells."""

    clear: str = "true"
    """A shell script for what the fix leaves."""

    volume: bool = False
    """Whether a raw block volume must be staged on the node."""

    repairs: bool = True
    """Whether the fix, run as printed, ends it. Else it needs something outside of the host."""

    options: tuple[str, ...] = ()
    also: tuple[tuple[str, Level], ...] = ()
    """Other checks that find something then."""


AILMENTS = [
    Ailment(
        "pool-not-zeroing", "storage",
        "lvchange --quiet --zero n vg0/pool",
        "thin pool", Level.ERROR, "another tenant's data", "lvchange --zero y vg0/pool",
    ),
    Ailment(
        "pool-queues", "storage",
        "lvchange --quiet --errorwhenfull n vg0/pool",
        "thin pool", Level.ERROR, "holds writes back", "lvchange --errorwhenfull y vg0/pool",
    ),
    Ailment(
        "no-volume-group", "storage", "true",
        "volume group", Level.ERROR, "no volume group other", "vgcreate",
        repairs=False, options=("--volume-group", "other"),
    ),
    Ailment(
        "autoextend", "storage",
        f"{_KEEP_LVM}; echo 'activation {{ thin_pool_autoextend_threshold = 70 }}' "
        ">> /etc/lvm/lvm.conf",
        "autoextend", Level.WARNING, "70 %", "/etc/lvm/lvmlocal.conf",
        clear=_RESTORE_LVM,
    ),
    Ailment(
        "guest-pv", "storage",
        f"{_KEEP_LVM}; {_SEE_ALL}; "
        "lvcreate --quiet --type thin --thinpool pool -V 64m -n guest --addtag "
        "csi-lvm-iscsi:name=guest vg0; vgcreate --quiet nested /dev/vg0/guest; "
        "lvcreate --quiet -l 1 -n inner nested",
        "LVM and guests", Level.ERROR, "guest", "vgchange --activate n --select vg_uuid=",
        clear=f"{_RESTORE_LVM}; lvremove --quiet --yes vg0/guest",
        also=(("scan_lvs", Level.WARNING),),
    ),
    Ailment(
        "tgtd-dead", "storage",
        f"{_HOLD_TGTD}{_DIE}",
        "tgtd", Level.ERROR, "does not run", "tgtd --iscsi portal=127.0.0.1:3299 -t 4",
        clear=_LET_GO_TGTD,
    ),
    Ailment(
        "tgtd-stopped", "storage",
        "pkill -STOP -x tgtd",
        "tgtd", Level.ERROR, "is stopped by a signal", "kill -CONT",
    ),
    Ailment(
        "tgtd-open-at-start", "storage",
        f"{_HOLD_TGTD}{_DIE}; tgtd",
        "tgtd's start", Level.WARNING, "0.0.0.0:3260", "tgtd --iscsi portal=127.0.0.1:3299",
        clear=_LET_GO_TGTD,
    ),
    Ailment(
        "port-taken", "storage",
        f"{_HOLD_TGTD}{_DIE}; setsid {_LISTEN} >/dev/null 2>&1 & "
        f"until ss -ltnp | grep :3260 | grep -q python; do sleep 0.1; done; {_LET_GO_TGTD}; "
        "until tgtadm --lld iscsi --mode portal --op show; do sleep 0.1; done",
        "portals", Level.ERROR, "is taken by process", "kill",
        clear=f"pkill -9 -f '[c]reate_server'; {_LET_GO_TGTD}", repairs=False,
    ),
    Ailment(
        "iscsid-dead", "node",
        f"{_HOLD.format('iscsid')}{_DIE}",
        "iscsid", Level.ERROR, "does not run", "iscsid",
        clear=_LET_GO.format("iscsid"),
    ),
    Ailment(
        "iscsid-stopped", "node",
        "pkill -STOP -x iscsid",
        "iscsid", Level.ERROR, "is stopped by a signal", "kill -CONT",
    ),
    Ailment(
        "safe-logout", "node",
        "echo 'iscsid.safe_logout = Yes' >> /etc/iscsi/iscsid.conf",
        "iscsid.conf", Level.ERROR, "safe_logout", "sed -i",
    ),
    Ailment(
        "no-rule", "node",
        "rm /run/udev/rules.d/59-csi-lvm-iscsi.rules",
        "udev rule", Level.ERROR, "missing or changed", "kill",
    ),
    Ailment(
        "record-left", "node",
        "iscsiadm --mode node --targetname iqn.2026-11.io.github.csi-lvm-iscsi:00000000-gone "
        "--portal {portal} --interface csi-lvm-iscsi --op new",
        "records", Level.WARNING, "is not staged", "--op delete",
    ),
    Ailment(
        "record-automatic", "node",
        "iscsiadm --mode node --targetname {target} --op update --name node.startup "
        "--value automatic",
        "records", Level.ERROR, "at the next boot", "--value manual",
        volume=True,
    ),
    Ailment(
        "session-left", "node",
        "rm /var/lib/csi-lvm-iscsi/staged/*.json",
        "sessions", Level.WARNING, "is of no staged volume", "--logout",
        clear="iscsiadm --mode node --targetname {target} --op delete", volume=True,
    ),
    Ailment(
        "guest-pv-on-node", "node",
        f"{_KEEP_LVM}; {_SEE_ALL}; disk=/dev/$(ls /sys/block | grep ^sd); "
        "vgcreate --quiet nested $disk; lvcreate --quiet -l 1 -n inner nested",
        "LVM and guests", Level.ERROR, "has activated", "vgchange --activate n --select vg_uuid=",
        clear=_RESTORE_LVM, volume=True,
    ),
    Ailment(
        "portal-away", "node", "true",
        "portals", Level.ERROR, "10.77.0.99:3260 is not reached", "ip route get 10.77.0.99",
        repairs=False, options=("--portal", "10.77.0.99:3260"),
    ),
]  # fmt: skip
