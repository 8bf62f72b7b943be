"""open-iscsi: its programs, its daemon, the name that we log in with."""

import re
from collections.abc import Sequence
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Where
from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.diagnosis import checks
from csi_lvm_iscsi.diagnosis.host import Host, Process
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.findings import Finding, error, ok, warning
from csi_lvm_iscsi.node.doctor.state import ISCSI, initiator_name, sessions

# Where iscsid listens, in the abstract namespace (open-iscsi, usr/mgmt_ipc.h).
_SOCKET = "@ISCSIADM_ABSTRACT_NAMESPACE"
_MOVE_SECONDS = 3.0
# Where Red Hat's package and those made after it keep the records, though /etc/iscsi is there.
_ELSEWHERE = Path("var/lib/iscsi/nodes")
_VERSION = re.compile(r"version (\S+)")
_SAFE_LOGOUT = re.compile(r"^\s*iscsid\.safe_logout\s*=\s*yes", re.MULTILINE | re.IGNORECASE)


class IscsiChecks:
    """The checks of open-iscsi."""

    def __init__(self, host: Host, node_id: str | None) -> None:
        self._host = host
        self._node_id = node_id

    async def programs(self) -> Sequence[Finding]:
        """Iscsiadm and iscsid, with their database where we look for it."""
        programs = checks.programs(self._host, "open-iscsi", "open-iscsi", "iscsiadm", "iscsid")
        if programs.fix:
            return [programs]
        root = self._host.root
        elsewhere = (root / _ELSEWHERE).is_dir() and not (root / ISCSI / "nodes").is_dir()
        if elsewhere or not (root / ISCSI).is_dir():
            place = f"in /{_ELSEWHERE.parent}" if elsewhere else "somewhere else"
            return [
                error(
                    "open-iscsi",
                    f"this host keeps its iSCSI database {place}, not in /{ISCSI}: only Debian's "
                    "open-iscsi and those built like it are supported",
                    f"ls -ld /{ISCSI} /{_ELSEWHERE}",
                )
            ]
        return [programs]

    async def daemon(self) -> Sequence[Finding]:
        """Iscsid runs, or is started by its socket; it answers, and is iscsiadm's own version."""
        process = next(iter(self._host.processes("iscsid")), None)
        listening = _SOCKET in self._host.read("proc/1/net/unix")
        if process is None and listening:
            return [ok("iscsid", "is started when it is needed, by its socket")]
        if process is None:
            start = "systemctl enable --now iscsid.socket" if self._host.has_systemd else "iscsid"
            return [error("iscsid", "does not run: no volume can be logged in to", start)]
        if process.stopped:
            return [
                error(
                    "iscsid",
                    f"process {process.pid} {process.hangs}",
                    f"kill -CONT {process.pid}",
                )
            ]
        await until(
            lambda: not any(each.hangs for each in self._host.processes("iscsid")),
            _MOVE_SECONDS,
            f"process {process.pid} waits in the kernel for more than {_MOVE_SECONDS:g} s",
        )
        return [await self._version(process)]

    async def _version(self, process: Process) -> Finding:
        """Asked of the program that the process sees: iscsid may run in a container of its own."""
        daemon = await self._host.run(
            *("nsenter", f"--target={process.pid}", "--mount", "--", "iscsid", "--version"),
            where=Where.HERE,
        )
        client = await self._host.run("iscsiadm", "--version")
        versions = [_VERSION.search(each.stdout) for each in (daemon, client)]
        told = [match[1] if match else "unknown" for match in versions]
        restart = "systemctl restart iscsid" if self._host.has_systemd else f"kill {process.pid}"
        if told[0] != told[1]:
            return error(
                "iscsid",
                f"is version {told[0]}, iscsiadm is {told[1]}: they may wait for each other for "
                "ever. Keep one of them, the host's",
                restart,
            )
        if process.replaced:
            return warning("iscsid", "was upgraded, and runs in its old version", restart)
        return ok("iscsid", f"version {told[0]} runs as process {process.pid}")

    async def initiator(self) -> Sequence[Finding]:
        """Our interface record carries the node's own name, and all sessions have it."""
        check = "initiator name"
        found = initiator_name(self._host)
        role = self._host.role("node")
        again = f"kill {role.pid}" if role else "csi-lvm-iscsi node OPTIONS"
        findings = [
            error(
                check,
                f"session {session.id} to {session.target} logged in as {session.initiator}, not "
                f"as {found}: this driver did not make it",
                f"iscsiadm --mode session --sid {session.id} --logout",
            )
            for session in sessions(self._host)
            if found and session.initiator != found
        ]
        expected = names.initiator_iqn(self._node_id) if self._node_id else found
        if not found:
            if role is None:
                return [ok(check, "the role node writes it when it starts")]
            findings.append(error(check, "the role's interface record is gone", again))
        elif found != expected or not found.startswith(f"{names.IQN_PREFIX}:node"):
            findings.append(
                error(check, f"{found}, though the node's is {expected or 'another'}", again)
            )
        return findings or [ok(check, found)]

    async def configuration(self) -> Sequence[Finding]:
        """iscsid.conf: our records have settings of their own, but for one."""
        if _SAFE_LOGOUT.search(self._host.read(f"{ISCSI}/iscsid.conf")):
            fix = f"sed -i '/^ *iscsid.safe_logout/d' /{ISCSI}/iscsid.conf"
            if self._host.has_systemd:
                fix += " && systemctl restart iscsid"
            return [
                error("iscsid.conf", "safe_logout lets the logout of a volume in use fail", fix)
            ]
        return []
