"""What tgtd holds, as values, and the verbs to change it. Each verb is one request."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from csi_lvm_iscsi.model.publications import LUN
from csi_lvm_iscsi.storage.tgt.socket import ALL_TARGETS, Code, Management, Mode, Op, TgtError

# Marks our disks for the udev rule on the nodes (SPC-4: T10 vendor id has 8 characters).
VENDOR = "CSILVM"
PRODUCT = "VOLUME"

# tgtd asks each initiator for a sign of life this often, and closes the connection when more than
# _NOP_COUNT went unanswered (usr/iscsi/iscsi_tcp.c, iscsi_tcp_nop_work_handler): a node that hangs
# though its kernel acknowledges what it gets; and every one that vanished, where `connections`
# cannot see to that.
NOP_SECONDS = 5
_NOP_COUNT = 2

_MAX_TID = 2**31 - 1
_INDENT = 4  # `_TAB1` in usr/target.c
READY = "ready"  # `target_state` in usr/target.c


@dataclass(frozen=True, slots=True)
class LogicalUnit:
    """A logical unit of a target: the backing device, and what initiators see of it."""

    path: str
    serial: str
    identifier: str
    megabytes: int
    """Its size as tgtd shows it: see `shown_megabytes`."""

    read_only: bool
    online: bool = True


@dataclass(slots=True)
class Target:
    """A target as `tgtadm --mode target --op show` tells of it."""

    tid: int
    iqn: str
    state: str = READY
    units: dict[int, LogicalUnit] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=list)
    acl: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of an initiator, from its login on until its last request is done."""

    sid: int
    cid: int
    initiator: str


def _random_tid() -> int:
    """Random, so that nothing has to remember which ones were used."""
    return 1 + secrets.randbelow(_MAX_TID)


class Tgtd:
    """The tgtd of this host."""

    def __init__(
        self,
        management: Management,
        new_tid: Callable[[], int] = _random_tid,
        discards: Callable[[], bool] = lambda: False,
    ) -> None:
        """`new_tid` gives numbers from 1 on, never one that it gave before: a login in progress
        remembers nothing but the tid of its target. `discards`: see tgt.version."""
        self._management = management
        self._new_tid = new_tid
        self.discards = discards

    async def targets(self) -> dict[str, Target]:
        """All targets by their IQN."""
        text = await self._management.request(Mode.TARGET, Op.SHOW, tid=ALL_TARGETS)
        return {target.iqn: target for target in parse_targets(text)}

    async def targets_of(self, iqn: str) -> list[Target]:
        """The target of this name, and those whose names go on with a colon. tgtd has no way to
        ask for some only, so of its long answer just these are read."""
        text = await self._management.request(Mode.TARGET, Op.SHOW, tid=ALL_TARGETS)
        return [
            target
            for title in re.finditer(rf"^Target \d+: {re.escape(iqn)}[:\n]", text, re.MULTILINE)
            for target in parse_targets(_section(text, title.start()))
        ]

    async def create_target(self, iqn: str) -> int:
        """Make an empty target, which nobody may log in to; its tid."""
        tid = self._new_tid()
        await self._management.request(Mode.TARGET, Op.NEW, f"targetname={iqn}", tid=tid)
        for setting in (f"nop_interval={NOP_SECONDS}", f"nop_count={_NOP_COUNT}"):
            await self._management.request(Mode.TARGET, Op.UPDATE, setting, tid=tid)
        return tid

    async def delete_target(self, tid: int) -> None:
        """Remove a target with its units, by force: connections are closed."""
        await self._request_unless(Code.NO_TARGET, Mode.TARGET, Op.DELETE, tid=tid, force=True)

    async def create_unit(self, tid: int, path: str) -> None:
        """Put the device at `path` behind the target's one logical unit.

        Backing store rdwr, never aio, which answers GOOD to SYNCHRONIZE CACHE without doing it
        (usr/bs_aio.c). Direct, so that what a guest wrote does not fill this host's page cache.
        """
        await self._management.request(
            Mode.LOGICAL_UNIT, Op.NEW, f"path={path},bstype=rdwr,bsoflags=direct", tid=tid, lun=LUN
        )

    async def identify_unit(
        self, tid: int, serial: str, *, read_only: bool, discards: bool
    ) -> None:
        """Give the logical unit its identity. One that is read-only refuses all writes with DATA
        PROTECT, and tells so in MODE SENSE (usr/sbc.c). One that `discards` tells so in VPD pages
        B0 and B2 (usr/spc.c, update_vpd_b0)."""
        settings = f"vendor_id={VENDOR},product_id={PRODUCT},scsi_sn={serial},scsi_id={serial}"
        if read_only:
            settings += ",readonly=1"
        if discards:
            settings += ",thin_provisioning=1"
        await self._management.request(Mode.LOGICAL_UNIT, Op.UPDATE, settings, tid=tid, lun=LUN)

    async def accounts(self) -> list[str]:
        """The CHAP users of all targets."""
        text = await self._management.request(Mode.ACCOUNT, Op.SHOW)
        return [line.strip() for line in text.splitlines()[1:]]

    async def create_account(self, user: str, password: str) -> None:
        """Make a CHAP account, or leave the one that has the name."""
        await self._request_unless(
            Code.USER_EXIST, Mode.ACCOUNT, Op.NEW, f"user={user},password={password}"
        )

    async def bind_account(self, tid: int, user: str) -> None:
        """Let the account log in to the target; from now on the target asks for CHAP."""
        await self._request_unless(Code.USER_EXIST, Mode.ACCOUNT, Op.BIND, f"user={user}", tid=tid)

    async def delete_account(self, user: str) -> None:
        """Remove an account, also from the targets it is bound to."""
        await self._request_unless(Code.NO_USER, Mode.ACCOUNT, Op.DELETE, f"user={user}")

    async def allow(self, tid: int, initiator: str) -> None:
        """Let an initiator name in. Never an address: tgtd lets in who matches either list."""
        await self._request_unless(
            Code.ACL_EXIST, Mode.TARGET, Op.BIND, f"initiator-name={initiator}", tid=tid
        )

    async def disallow(self, tid: int, initiator: str) -> None:
        """Let an initiator name in no more. Who is in stays in: close its connections too."""
        await self._request_unless(
            Code.ACL_NOEXIST, Mode.TARGET, Op.UNBIND, f"initiator-name={initiator}", tid=tid
        )

    async def connections(self, tid: int) -> list[Connection]:
        """The connections to a target. One that was closed stays listed until its requests in
        flight are done (usr/iscsi/iscsid.c), so an empty list means drained."""
        text = await self._management.request(Mode.CONNECTION, Op.SHOW, tid=tid)
        return parse_connections(text)

    async def close(self, tid: int, connection: Connection) -> None:
        """Close a connection, which may be gone already."""
        try:
            await self._management.request(
                Mode.CONNECTION, Op.DELETE, tid=tid, sid=connection.sid, cid=connection.cid
            )
        except TgtError as error:
            if error.code not in (Code.NO_SESSION, Code.NO_CONNECTION):
                raise

    async def portals(self) -> list[str]:
        """The portals as `ADDRESS:PORT`."""
        text = await self._management.request(Mode.PORTAL, Op.SHOW)
        return re.findall(r"^Portal: (.*),\d+$", text, re.MULTILINE)

    async def create_portal(self, portal: str) -> None:
        """Listen at `ADDRESS:PORT`."""
        await self._management.request(Mode.PORTAL, Op.NEW, f"portal={portal}")

    async def _request_unless(
        self,
        harmless: Code,
        mode: Mode,
        op: Op,
        parameters: str = "",
        *,
        tid: int = 0,
        force: bool = False,
    ) -> None:
        """Send a request that may find its work done already."""
        try:
            await self._management.request(mode, op, parameters, tid=tid, force=force)
        except TgtError as error:
            if error.code != harmless:
                raise


def shown_megabytes(size_bytes: int) -> int:
    """A size as tgtd shows it, rounded to millions of bytes (usr/target.c, print_disksize)."""
    sectors = size_bytes // 512
    return (sectors - (sectors // 625 - 974)) // 1950


def _section(text: str, begin: int) -> str:
    """What `show` tells of one target, from its title on."""
    end = text.find("\nTarget ", begin)
    return text[begin : end if end >= 0 else None]


def parse_targets(text: str) -> list[Target]:
    """Read `--mode target --op show`: sections by indentation (usr/target.c, show_all)."""
    targets: list[Target] = []
    section = ""
    unit: dict[str, str] = {}
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // _INDENT
        key, _, value = line.strip().partition(": ")
        if depth == 0:
            targets.append(Target(int(key.removeprefix("Target ")), value))
        elif depth == 1:
            section = line.strip()
        elif section == "System information:" and key == "State":
            targets[-1].state = value
        elif section == "LUN information:" and depth == 2:
            unit = {"lun": value}
        elif section == "LUN information:":
            unit[key] = value
            if key == "Backing store path":
                targets[-1].units[int(unit["lun"])] = LogicalUnit(
                    path=value,
                    serial=unit["SCSI SN"],
                    identifier=unit["SCSI ID"],
                    megabytes=int(unit["Size"].partition(" MB")[0]),
                    read_only=unit["Readonly"] == "Yes",
                    online=unit["Online"] == "Yes",
                )
        elif section == "Account information:":
            targets[-1].accounts.append(line.strip())
        elif section == "ACL information:":
            targets[-1].acl.append(line.strip())
    return targets


def parse_connections(text: str) -> list[Connection]:
    """Read `--mode conn --op show` (usr/iscsi/target.c, iscsi_target_show_connections)."""
    return [
        Connection(int(sid), int(cid), initiator)
        for sid, cid, initiator in re.findall(
            r"^Session: (\d+)\n\s+Connection: (\d+)\n\s+Initiator: (\S+)", text, re.MULTILINE
        )
    ]
