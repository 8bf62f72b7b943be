"""Sessions, records and portals of the driver's targets."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from csi_lvm_iscsi.diagnosis import checks
from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.initiator.sessions import LOGGED_IN
from csi_lvm_iscsi.model.findings import Finding, error, ok, warning
from csi_lvm_iscsi.model.names import volume_of_target
from csi_lvm_iscsi.node.doctor.state import Session, records, sessions, staged


class SessionChecks:
    """The checks of what the driver has made on a node."""

    def __init__(self, host: Host, portals: Sequence[str], state_directory: Path) -> None:
        self._host = host
        self._given = tuple(portals)
        self._state_directory = state_directory

    async def modules(self) -> Sequence[Finding]:
        """The transport, disks and, where a volume has several paths, multipath."""
        paths = [record.target for record in records(self._host)]
        several = len(self._given) > 1 or len(set(paths)) < len(paths)
        names = ["iscsi_tcp", "sd_mod", *(["dm_multipath", "dm_service_time"] if several else [])]
        return [await checks.modules(self._host, *names)]

    async def records(self) -> Sequence[Finding]:
        """Records are of staged volumes, and no boot logs in by itself."""
        check = "records"
        found = records(self._host)
        held = staged(self._host, self._state_directory)
        used = held | {volume_of_target(each.target) for each in sessions(self._host)}
        findings = []
        for target in sorted({record.target for record in found}):
            startups = {record.startup for record in found if record.target == target}
            if volume_of_target(target) not in used:
                findings.append(
                    warning(
                        check,
                        f"{target} has a record here, with its password, but is not staged",
                        f"iscsiadm --mode node --targetname {target} --op delete",
                    )
                )
            elif startups & {"automatic", "onboot"}:
                findings.append(
                    error(
                        check,
                        f"{target} would be logged in to at the next boot, without the driver",
                        f"iscsiadm --mode node --targetname {target} --op update "
                        "--name node.startup --value manual",
                    )
                )
        return findings or [ok(check, f"{len(found)}, all of staged volumes")]

    async def sessions(self) -> Sequence[Finding]:
        """Sessions are of staged volumes, and alive."""
        check = "sessions"
        found = sessions(self._host)
        held = staged(self._host, self._state_directory)
        findings = []
        for session in found:
            if volume_of_target(session.target) not in held:
                findings.append(self._stale(session))
            if session.state != LOGGED_IN:
                findings.append(_dead(session))
        return findings or [ok(check, f"{len(found)}, all of staged volumes and logged in")]

    async def portals(self) -> Sequence[Finding]:
        """Each portal that volumes of this node are at can be reached."""
        check = "portals"
        known = {record.portal for record in records(self._host)}
        known |= {session.portal for session in sessions(self._host)}
        portals = sorted({*known, *self._given})
        failures = await asyncio.gather(*map(self._host.reach, portals))
        findings = [
            error(
                check,
                f"{portal} is not reached ({failure}): see that tgtd runs there (`csi-lvm-iscsi "
                "doctor storage` on it), and the firewall and the route between",
                f"ip route get {portal.rpartition(':')[0].strip('[]')}",
            )
            for portal, failure in zip(portals, failures, strict=True)
            if failure
        ]
        return findings or [
            ok(check, f"{', '.join(portals)} reached" if portals else "none is known yet")
        ]

    def _stale(self, session: Session) -> Finding:
        """A logout does not ask who uses the disk, so that is unmounted first."""
        numbers = {disk.number for disk in session.disks}
        mounted = [
            fields[4]
            for fields in map(str.split, self._host.read("proc/1/mountinfo").splitlines())
            if fields[2] in numbers
        ]
        unmount = "".join(f"umount {target} && " for target in reversed(mounted))
        used = f", and is mounted on {', '.join(mounted)}" if mounted else ""
        return warning(
            "sessions",
            f"session {session.id} to {session.target} is of no staged volume{used}: see that "
            f"nothing uses {', '.join(disk.name for disk in session.disks) or 'it'}, then end it",
            f"{unmount}iscsiadm --mode session --sid {session.id} --logout",
        )


def _dead(session: Session) -> Finding:
    return error(
        "sessions",
        f"session {session.id} to {session.target} at {session.portal} is {session.state}: it goes "
        "on by itself when that storage host is back; see there (`csi-lvm-iscsi doctor storage`)",
        f"ip route get {session.portal.rpartition(':')[0].strip('[]')}",
    )
