"""iscsiadm's database: the record of each target that we log in to, and our interface record."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from csi_lvm_iscsi.commands.runner import CommandFailed, Runner, Where
from csi_lvm_iscsi.initiator.iscsiadm import Exit, explain
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model import portals as model_portals
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.records import files

# The interface records. Each carries the initiator name of one role, as a host may be a node and a
# storage host, by different names.
INTERFACE = "csi-lvm-iscsi"
STORAGE_INTERFACE = "csi-lvm-iscsi-storage"
# iscsid tries for LOGIN_SECONDS in all, then gives up by itself.
_LOGIN_TIMEOUT = 15
_LOGIN_RETRIES = 2
LOGIN_SECONDS = _LOGIN_TIMEOUT * (_LOGIN_RETRIES + 1)
# How long the kernel holds the I/O of a cut session before it fails it. A server's POST takes
# minutes; failing earlier turns each reboot of a storage host into read-only file systems.
REPLACEMENT_SECONDS = 600
# Among several: the map above keeps the I/O then, and sends it another way.
REPLACEMENT_AMONG_SEVERAL_SECONDS = 15
# The lock of the database is a link that a killed iscsiadm leaves behind. The next one waits 30 s
# for it (3000 times 10 ms) and then goes on as if it had it (usr/idbm.c, idbm_lock). A shorter
# bound would kill that one too, and the next, for ever.
_RECORD_SECONDS = 45.0
_Version = tuple[int, int, int] | None
"""Of a file: its inode, time (nanoseconds) and size (bytes); None where it is not there."""
_LINE = re.compile(r"([\w.\[\]]+) = ")
# The part of iscsid.conf for mutual CHAP, which is for the administrator's other targets: with it
# iscsid would ask of tgtd a secret that tgtd does not have.
_FOREIGN = ("node.session.auth.username_in", "node.session.auth.password_in")


class NodeRecords:
    """The records of targets. They hold the CHAP password while a volume is staged."""

    def __init__(
        self, runner: Runner, directory: Path, initiator: str, interface: str = INTERFACE
    ) -> None:
        """`directory` is the host's /etc/iscsi; `initiator` the name that we log in with, which
        the record of `interface` carries."""
        self._runner = runner
        self._directory = directory
        self._initiator = initiator
        self._interface = interface
        # Not in nodes/ or ifaces/: iscsiadm takes each file there with a comma in its name for a
        # portal (usr/idbm.c, idbm_for_each_portal), or each file for an interface (usr/iface.c,
        # iface_for_each_iface). What a killed role left would let each delete fail with exit 6.
        self._temporary = directory / f".{interface}.new"
        # Deleting walks the whole tree, and fails where another process deletes in it: 5 of 10
        # parallel deletes of different records did (exit 6).
        self._lock = asyncio.Lock()
        self._pattern: tuple[_Version, str] | None = None

    def ensure_interface(self) -> None:
        """Write the interface record that carries our initiator name.

        Not the host's /etc/iscsi/initiatorname.iscsi: cloned hosts have the same there.
        """
        if not self._directory.is_dir():
            raise DriverError("This node has no /etc/iscsi: install the package open-iscsi on it.")
        path = self._directory / "ifaces" / self._interface
        content = (
            "# BEGIN RECORD 2.0\n"
            f"iface.iscsi_ifacename = {self._interface}\n"
            "iface.transport_name = tcp\n"
            f"iface.initiatorname = {self._initiator}\n"
            "# END RECORD\n"
        ).encode()
        path.parent.mkdir(exist_ok=True, mode=0o700)
        if not path.exists() or path.read_bytes() != content:
            files.write(path, content, self._temporary)

    async def write(
        self, target: str, portals: Sequence[str], user: str, password: str, *, several: bool
    ) -> None:
        """Make the records of a target, one for each portal, with the credentials to log in.

        Our settings go straight into the files, since iscsiadm takes a password in its argument
        list only, where every process can read it. `several`: a session that is cut is not the
        only way.
        """
        settings = {
            "node.startup": "manual",
            "node.conn[0].startup": "manual",
            # A login must not expose what else the target may have.
            "node.session.scan": "manual",
            "node.session.nr_sessions": "1",
            "node.session.reopen_max": "0",
            "node.session.initial_login_retry_max": str(_LOGIN_RETRIES),
            "node.conn[0].timeo.login_timeout": str(_LOGIN_TIMEOUT),
            "node.session.timeo.replacement_timeout": str(
                REPLACEMENT_AMONG_SEVERAL_SECONDS if several else REPLACEMENT_SECONDS
            ),
            "node.session.auth.authmethod": "CHAP",
            "node.session.auth.username": user,
            "node.session.auth.password": password,
        }
        async with self._lock:
            record = await self._made(target, portals[0])
            for portal in portals:
                address, port = model_portals.split(portal)
                place = {
                    "node.name": target,
                    "node.conn[0].address": address,
                    "node.conn[0].port": str(port),
                }
                content = _with_settings(record, settings | place).encode()
                path = self._path(target, portal)
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                files.write(path, content, self._temporary)

    async def _made(self, target: str, portal: str) -> str:
        """A record as iscsiadm makes it from iscsid.conf. Records differ in target and portal
        alone, so one is made, and serves until iscsid.conf changes."""
        version = self._configuration()
        if self._pattern and self._pattern[0] == version:
            return self._pattern[1]
        path = self._path(target, portal)
        is_new = not path.exists()
        await self._run(
            *(target, "--portal", portal, "--interface", self._interface, "--op", "new")
        )
        try:
            record = path.read_text()
        except OSError as error:
            raise DriverError(
                f"iscsiadm made a record of {target}, but not at {path} ({error.strerror}): "
                "this host keeps its iSCSI database somewhere else. Debian's is supported."
            ) from error
        if is_new:
            self._pattern = version, record
        return record

    def _configuration(self) -> _Version:
        try:
            status = (self._directory / "iscsid.conf").stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def portals(self, target: str) -> tuple[str, ...]:
        """The portals of a target that there are records for."""
        found = []
        for path in _listed(self._directory / "nodes" / target, "*,*"):
            address, port, *_ = path.name.split(",")
            found.append(model_portals.portal(address, int(port)))
        return tuple(found)

    def target_of(self, volume_id: str) -> str:
        """The target of a volume that a record was written for last; empty: there is none."""
        found = [
            path
            for path in _listed(self._directory / "nodes", f"{names.target_iqn(volume_id)}*")
            if names.volume_of_target(path.name) == volume_id
        ]
        return max(found, key=_written).name if found else ""

    def _path(self, target: str, portal: str) -> Path:
        """The file of a record, which iscsiadm names after the address without brackets."""
        address, port = model_portals.split(portal)
        return self._directory / "nodes" / target / f"{address},{port}"

    async def forget(self, volume_id: str) -> None:
        """Remove the records of a volume's targets, if there are any, and what a killed write left:
        it may hold a password."""
        async with self._lock:
            self._temporary.unlink(missing_ok=True)
            for path in sorted((self._directory / "nodes").glob(f"{names.target_iqn(volume_id)}*")):
                if names.volume_of_target(path.name) == volume_id:
                    await self._run(
                        path.name, "--op", "delete", expect=(Exit.SUCCESS, Exit.NO_OBJECTS)
                    )

    async def _run(
        self, target: str, *arguments: str, expect: tuple[int, ...] = (Exit.SUCCESS,)
    ) -> None:
        try:
            await self._runner.run(
                *("iscsiadm", "--mode", "node", "--targetname", target, *arguments),
                where=Where.HOST,
                seconds=_RECORD_SECONDS,
                expect=expect,
            )
        except CommandFailed as error:
            said = explain(error.completed.code, error.completed.stderr)
            raise DriverError(f"The iSCSI record of {target} cannot be changed: {said}.") from error


def _listed(directory: Path, pattern: str) -> list[Path]:
    """The entries of a directory; none where it goes meanwhile."""
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []


def _written(path: Path) -> float:
    """When a file was written; long ago where it goes meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _with_settings(record: str, settings: Mapping[str, str]) -> str:
    """A record with these settings replaced or added. Of a setting that stands twice, iscsiadm
    takes the last."""
    kept = [
        line
        for line in record.splitlines()
        if not ((match := _LINE.match(line)) and match[1] in (*settings, *_FOREIGN))
        and not line.startswith("#")
    ]
    ours = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(["# BEGIN RECORD", *kept, *ours, "# END RECORD", ""])
