"""The host's own storage tools: they must keep off the disks of volumes."""

import json
from collections.abc import Sequence

from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.initiator import host_rules
from csi_lvm_iscsi.initiator.sessions import LOGGED_IN
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.model.findings import Finding, error, ok, warning
from csi_lvm_iscsi.node.doctor.state import Disk, Session, sessions

_FLAG = "E:UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG=1"


class BystanderChecks:
    """The checks of udev, multipathd and LVM."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def udev(self) -> Sequence[Finding]:
        """Udevd runs, has our rule, and has applied it to the disks that are there."""
        check = "udev rule"
        role = self._host.role("node")
        rule = self._host.read(f"run/udev/rules.d/{host_rules.FILE}")
        if rule != host_rules.RULE.strip():
            if role is None and not self._disks():
                return [ok(check, "the role node writes it when it starts")]
            return [
                error(
                    check,
                    "missing or changed: the host may take over what a guest wrote to its disk",
                    f"kill {role.pid}" if role else "csi-lvm-iscsi node OPTIONS",
                )
            ]
        if not self._host.processes("systemd-udevd", "udevd", "(udev-worker)"):
            start = (
                "systemctl start systemd-udevd"
                if self._host.has_systemd
                else "/lib/systemd/systemd-udevd --daemon"
            )
            return [warning(check, "is there, but udevd does not run", start)]
        late = [
            disk.name
            for disk in self._disks()
            if _FLAG not in self._host.read(f"run/udev/data/b{disk.number}").splitlines()
        ]
        if late:
            disks = " ".join(f"/sys/class/block/{name}" for name in late)
            return [
                error(
                    check,
                    f"not applied to {', '.join(late)}: the host may take over what is on it",
                    f"udevadm control --reload && udevadm trigger --settle --action=change {disks}",
                )
            ]
        return [ok(check, "keeps the host's tools off our disks")]

    async def multipath(self) -> Sequence[Finding]:
        """Multipathd takes no disk that has one path."""
        check = "multipathd"
        findings = [
            error(
                check,
                f"has taken {disk.name} of {session.target}, which cannot be unstaged so",
                f"multipath -f {uuid.removeprefix('mpath-')}",
            )
            for session in self._sessions()
            if sum(other.target == session.target for other in self._sessions()) == 1
            for disk in session.disks
            for uuid in disk.holders
            if uuid.startswith("mpath-")
        ]
        running = self._host.processes("multipathd")
        return findings or [
            ok(check, "runs, and has none of our disks" if running else "does not run")
        ]

    async def lvm(self) -> Sequence[Finding]:
        """The host's LVM does not see what guests made in their volumes."""
        check = "LVM and guests"
        disks = {f"/dev/{disk.name}": disk for disk in self._disks()}
        if not disks or self._host.missing("lvm"):
            return [ok(check, "no volume is a physical volume to this host")]
        if any(session.state != LOGGED_IN for session in self._sessions()):
            # lvm would read its disk, and hang with a lock held.
            return [ok(check, "not looked at while a session is cut")]
        completed = await self._host.run(
            *("lvm", "pvs", "--reportformat", "json", "--options", "pv_name,vg_name,vg_uuid")
        )
        if completed.code != 0:
            raise DriverError(f"`{completed.command}` failed: {completed.stderr.strip()}")
        rows = json.loads(completed.stdout)["report"][0]["pv"]
        nested = [row for row in rows if row["pv_name"] in disks]
        if not nested:
            return [ok(check, "no volume is a physical volume to this host")]
        own = "".join(f'"a|^{row["pv_name"]}$|", ' for row in rows if row["pv_name"] not in disks)
        uuids = sorted({row["vg_uuid"] for row in nested if row["vg_uuid"]})
        deactivate = "".join(f"vgchange --activate n --select vg_uuid={each} && " for each in uuids)
        active = any(
            holder.startswith("LVM-") for row in nested for holder in disks[row["pv_name"]].holders
        )
        return [
            (error if active else warning)(
                check,
                f"{', '.join(row['pv_name'] for row in nested)}: a guest's physical volume, which "
                f"this host {'has activated' if active else 'sees'}",
                f"{deactivate}echo 'devices/global_filter = [ {own}\"r|.*|\" ]' "
                ">> /etc/lvm/lvmlocal.conf",
            )
        ]

    def _sessions(self) -> Sequence[Session]:
        return sessions(self._host)

    def _disks(self) -> list[Disk]:
        return [disk for session in self._sessions() for disk in session.disks]
