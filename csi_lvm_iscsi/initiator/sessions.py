"""iSCSI sessions: found in sysfs, begun and ended by iscsiadm."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Completed, Runner, Where
from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.initiator.iscsiadm import Exit, explain
from csi_lvm_iscsi.initiator.node_records import INTERFACE, LOGIN_SECONDS, REPLACEMENT_SECONDS
from csi_lvm_iscsi.model import names, portals
from csi_lvm_iscsi.model.errors import DriverError, FailedPrecondition, Unavailable

LOGGED_IN = "LOGGED_IN"
# A killed iscsiadm does not stop iscsid, which would still make the session: so this is more than
# iscsid itself takes, one attempt after its last retry included.
_LOGIN_BOUND = LOGIN_SECONDS + 30.0
# node.conn[0].timeo.logout_timeout is 15 s, then iscsid ends the session without an answer.
_LOGOUT_BOUND = 45.0
_GONE_SECONDS = 15.0
_READY_SECONDS = 10.0
# A login walks the whole database, and fails where a record is deleted meanwhile.
_DATABASE_TRIES = 3
_UNREACHABLE = (Exit.TRANSPORT, Exit.TIMEOUT, Exit.PDU_TIMEOUT, Exit.NO_DAEMON, Exit.DAEMON_TALK)
_REFUSED = (Exit.AUTHENTICATION, Exit.FATAL_LOGIN)


@dataclass(frozen=True, slots=True)
class Session:
    """A session as the kernel has it."""

    id: int
    host: int
    """The number of its SCSI host: with iscsi_tcp each session has its own."""

    target: str
    """The name of its target."""

    user: str
    """The CHAP user it logged in with, hence whose publication it is of."""

    portal: str
    """Where it is connected to; empty where the kernel does not tell."""

    alone: bool
    """Whether it was begun as the only one of its publication: its I/O waits long for it to come
    back, as there is no other way."""

    directory: Path
    """Its directory in sysfs."""


class Sessions:
    """The sessions of this host."""

    def __init__(self, runner: Runner, sys: Path, interface: str = INTERFACE) -> None:
        """`interface`: the record of it names us at logins."""
        self._runner = runner
        self._interface = interface
        self._class = sys / "class" / "iscsi_session"

    def of(self, target: str) -> tuple[Session, ...]:
        """The sessions to a target, whatever their state."""
        return tuple(self._all(lambda found: found == target))

    def of_volume(self, volume_id: str) -> tuple[Session, ...]:
        """The sessions to any target of a volume, whatever their state."""
        return tuple(self._all(lambda found: names.volume_of_target(found) == volume_id))

    def ours(self) -> tuple[Session, ...]:
        """The sessions to all targets of this driver."""
        return tuple(self._all(lambda found: bool(names.volume_of_target(found))))

    def _all(self, is_wanted: Callable[[str], bool]) -> Iterator[Session]:
        for entry in sorted(self._class.glob("session*")):
            if is_wanted(_attribute(entry, "targetname")) and (session := self._read(entry)):
                yield session

    def state(self, session: Session) -> str:
        """LOGGED_IN, FAILED (cut, being recovered) or FREE; empty where it is gone."""
        return _attribute(self._class / f"session{session.id}", "state")

    async def wait_until_ready(self, session: Session, portal: str) -> None:
        """Wait, not for long, until a session is logged in. Raises Unavailable."""
        await until(
            lambda: self.state(session) == LOGGED_IN,
            _READY_SECONDS,
            f"The session to {portal} is cut and being recovered: bring the storage host back, or "
            "look at the network between. It goes on by itself then.",
        )

    async def login(self, target: str, portal: str, user: str) -> Session:
        """Log in with the record of the target, and return the session.

        Raises FailedPrecondition where the target refuses us, Unavailable where it cannot be
        reached.
        """
        for _ in range(_DATABASE_TRIES):
            completed = await self._runner.run(
                *("iscsiadm", "--mode", "node", "--targetname", target),
                *("--portal", portal, "--interface", self._interface, "--login"),
                where=Where.HOST,
                seconds=_LOGIN_BOUND,
                expect=range(256),
            )
            # What counts is what the kernel has: exit 15 says that the session exists, and exit 6
            # may tell of another target's record.
            for session in self.of(target):
                if (session.user, session.portal) == (user, portal):
                    return session
            if completed.code != Exit.DATABASE:
                break
        raise _login_error(completed, target, portal)

    async def logout(self, session: Session) -> None:
        """End a session and wait until it is gone, with its devices."""
        completed = await self._runner.run(
            *("iscsiadm", "--mode", "session", "--sid", str(session.id), "--logout"),
            where=Where.HOST,
            seconds=_LOGOUT_BOUND,
            expect=range(256),
        )
        entry = self._class / f"session{session.id}"
        if completed.code != Exit.SUCCESS and entry.exists():
            raise Unavailable(
                f"iSCSI session {session.id} cannot be ended: "
                f"{explain(completed.code, completed.stderr)}."
            )
        await until(
            lambda: not entry.exists(),
            _GONE_SECONDS,
            f"iSCSI session {session.id} was logged out, but the kernel still has it: something "
            "holds its device. Look at /proc/*/fd and at `lsblk`, then call again.",
        )

    def _read(self, entry: Path) -> Session | None:
        """A session; None where it vanishes while it is read."""
        try:
            directory = (entry / "device").resolve(strict=True)
            portal = _portal(directory)
        except OSError:
            return None
        return Session(
            id=int(entry.name.removeprefix("session")),
            host=int(directory.parent.name.removeprefix("host")),
            target=_attribute(entry, "targetname"),
            user=_attribute(entry, "username"),
            portal=portal,
            alone=_attribute(entry, "recovery_tmo") == str(REPLACEMENT_SECONDS),
            directory=directory,
        )


def _attribute(entry: Path, name: str) -> str:
    """An attribute of a session in sysfs; empty where the session is gone."""
    try:
        return (entry / name).read_text().strip()
    except OSError:
        return ""


def _portal(directory: Path) -> str:
    """Where a session is connected to, as its record names it."""
    for connection in directory.glob("connection*/iscsi_connection/connection*"):
        address = _attribute(connection, "persistent_address")
        with contextlib.suppress(ValueError):
            return portals.portal(address, int(_attribute(connection, "persistent_port")))
    return ""


def _login_error(completed: Completed, target: str, portal: str) -> DriverError:
    sentence = f"Login to {target} at {portal} failed: {explain(completed.code, completed.stderr)}."
    if completed.code in _REFUSED:
        return FailedPrecondition(sentence)
    if completed.code in _UNREACHABLE:
        return Unavailable(sentence)
    return DriverError(sentence)
