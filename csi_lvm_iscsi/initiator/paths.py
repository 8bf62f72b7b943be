"""The paths to a volume with several portals: a session at each, and one map over their disks."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import structlog

from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.initiator.devices import Devices, ScsiDisk
from csi_lvm_iscsi.initiator.maps import Map, Maps
from csi_lvm_iscsi.initiator.node_records import LOGIN_SECONDS, NodeRecords
from csi_lvm_iscsi.initiator.reach import Probe, answering, connects
from csi_lvm_iscsi.initiator.sessions import LOGGED_IN, Session, Sessions
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import DriverError, Unavailable
from csi_lvm_iscsi.model.publications import LUN, Publication

_log = structlog.get_logger()
_READY_SECONDS = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What each path must lead to."""

    volume_id: str
    nonce: str
    size_bytes: int
    target: str

    @classmethod
    def of(cls, publication: Publication) -> Self:
        """What was published."""
        return cls(
            publication.volume_id, publication.nonce, publication.size_bytes, publication.target
        )

    @property
    def user(self) -> str:
        """The CHAP user of its sessions."""
        return chap.user(self.volume_id, self.nonce)


class Paths:
    """Sessions, disks and the map of volumes with several portals."""

    def __init__(
        self,
        records: NodeRecords,
        sessions: Sessions,
        devices: Devices,
        maps: Maps,
        probe: Probe = connects,
    ) -> None:
        self._records = records
        self._sessions = sessions
        self._devices = devices
        self._maps = maps
        self._probe = probe

    def sessions(self, wanted: Wanted) -> tuple[Session, ...]:
        """The sessions of the publication, whatever their state."""
        return tuple(s for s in self._sessions.of_volume(wanted.volume_id) if s.user == wanted.user)

    def sessions_of(self, map_: Map) -> tuple[Session, ...]:
        """The sessions of the publication of a map, whatever their state."""
        return tuple(s for s in self._sessions.of_volume(map_.volume_id) if s.user == map_.user)

    def sessions_by_user(self) -> dict[str, list[Session]]:
        """The sessions of all volumes, read once for many maps."""
        found: dict[str, list[Session]] = {}
        for session in self._sessions.ours():
            found.setdefault(session.user, []).append(session)
        return found

    def _target_of(self, map_: Map, sessions: Sequence[Session]) -> str:
        """The target that a map's paths lead to: of its sessions or, where it has none, as its
        records say."""
        return sessions[0].target if sessions else self._records.target_of(map_.volume_id)

    def working(self, sessions: Iterable[Session]) -> list[Session]:
        """Those that are logged in."""
        return [each for each in sessions if self._sessions.state(each) == LOGGED_IN]

    async def ensure_sessions(self, wanted: Wanted, portals: Iterable[str]) -> Session:
        """Have a session at each portal that answers, their records being there; one that works.

        Those that do not answer are logged, and left to `path_upkeep`. Raises what the login
        raised, or Unavailable, where there is none at all.
        """
        missing = missing_of(self.sessions(wanted), portals)
        patience = 0 if self.sessions(wanted) else LOGIN_SECONDS
        found = await answering(self._probe, missing, patience)
        for portal in missing:
            if portal not in found:
                _log.warning("portal does not answer", portal=portal, volume_id=wanted.volume_id)
        errors = await self._log_in(wanted, found)
        if errors and not self.sessions(wanted):
            raise errors[0]
        return await self.wait_until_one_works(wanted)

    async def wait_until_one_works(self, wanted: Wanted) -> Session:
        """A session that works. Raises Unavailable where all are cut."""
        working = await until(
            lambda: self.working(self.sessions(wanted)),
            _READY_SECONDS,
            f"All sessions of volume {wanted.volume_id} are cut and being recovered: bring the "
            "storage host back, or look at the networks between. It goes on by itself then.",
        )
        return working[0]

    async def _log_in(self, wanted: Wanted, portals: Iterable[str]) -> list[DriverError]:
        """Log in at several portals at once, and return what went wrong."""
        _, errors = await settled(
            self._sessions.login(wanted.target, portal, wanted.user) for portal in portals
        )
        _warn(wanted, errors)
        return errors

    async def ensure_map(self, wanted: Wanted) -> Map:
        """The map over the disks of the sessions that work, each of them identified, and of those
        that are cut and were in it before.

        A disk that is another one, or is smaller than the map already, is logged and left out.
        Raises what was wrong where none is left.
        """
        sessions = self.sessions(wanted)
        working = self.working(sessions)
        found = self._maps.find(wanted.volume_id, wanted.nonce)
        least = max(wanted.size_bytes, self._maps.size(found) if found else 0)
        disks, errors = await settled(
            self._devices.ensure(session, LUN, names.serial(wanted.volume_id), least)
            for session in working
        )
        _warn(wanted, errors)
        if not disks:
            raise (
                errors[0]
                if errors
                else Unavailable(
                    f"The sessions of volume {wanted.volume_id} were cut just now: call again."
                )
            )
        size = min(map(self._devices.size, disks))
        cut = [session for session in sessions if session not in working]
        disks += await self._staying(wanted, cut, size)
        return await self._maps.ensure(wanted.volume_id, wanted.nonce, disks, size)

    async def _staying(self, wanted: Wanted, cut: Iterable[Session], size: int) -> list[ScsiDisk]:
        """The disks of cut sessions that stay in the map, to be used again when they work.

        One that is smaller does not: the kernel has not learnt yet that it has grown, and would
        refuse it.
        """
        found = self._maps.find(wanted.volume_id, wanted.nonce)
        numbers = await self._maps.paths(found) if found else {}
        return [
            disk
            for session in cut
            for disk in self._devices.all(session)
            if disk.number in numbers and self._devices.size(disk) >= size
        ]

    async def check(self, wanted: Wanted) -> None:
        """Ask the disks that the map sends I/O to anew who they are.

        When one has told, the others get little longer, as one whose cut was not noticed yet does
        not answer at all; what the kernel knows of them is looked at then. Raises
        FailedPrecondition where one is another disk or all are smaller, Unavailable where there
        is none.
        """
        found = self._maps.find(wanted.volume_id, wanted.nonce)
        in_map = await self._maps.paths(found) if found else {}
        used = self._used(self.sessions(wanted))
        disks = {disk.number: disk for disk in used if disk.number in in_map}

        async def tells(number: str) -> bool:
            try:
                await self._devices.refresh(disks[number])
            except (DriverError, OSError):
                return False
            return True

        if not await answering(tells, disks, 0):
            raise Unavailable(
                f"No path of volume {wanted.volume_id} takes I/O now: look at the kernel's log and "
                "the networks between, then call again."
            )
        for disk in disks.values():
            self._devices.check_serial(disk, names.serial(wanted.volume_id))
        largest = max(disks.values(), key=self._devices.size)
        self._devices.check_size(largest, wanted.size_bytes)

    def takes_io(self, sessions: Iterable[Session]) -> set[str]:
        """The major:minor of disks that the kernel sends I/O to."""
        return {disk.number for disk in self._used(sessions)}

    def _used(self, sessions: Iterable[Session]) -> list[ScsiDisk]:
        return [
            disk
            for session in self.working(sessions)
            for disk in self._devices.all(session)
            if self._devices.works(disk)
        ]

    def is_without_disk(self, sessions: Iterable[Session]) -> bool:
        """Whether a session works whose disk was not scanned for yet."""
        return any(self._devices.find(session, LUN) is None for session in self.working(sessions))

    async def lost_and_found(self, map_: Map, sessions: Sequence[Session]) -> list[str]:
        """The portals that there are records for but no sessions, and that answer now."""
        target = self._target_of(map_, sessions)
        missing = missing_of(sessions, self._records.portals(target))
        return await answering(self._probe, missing, 0)

    async def repair(self, map_: Map, sessions: Sequence[Session], portals: Iterable[str]) -> None:
        """Log in at portals that have no session, and take all disks that work into the map. Raises
        why a login failed."""
        target = self._target_of(map_, sessions)
        wanted = Wanted(map_.volume_id, map_.nonce, self._maps.size(map_), target)
        errors = await self._log_in(wanted, portals)
        if self.working(self.sessions(wanted)):
            await self.ensure_map(wanted)
        if errors:
            raise errors[0]


def missing_of(sessions: Iterable[Session], portals: Iterable[str]) -> list[str]:
    """Which of the portals have no session."""
    present = {session.portal for session in sessions}
    return [portal for portal in portals if portal not in present]


def _warn(wanted: Wanted, errors: Iterable[DriverError]) -> None:
    for error in errors:
        _log.warning("a path is missing", volume_id=wanted.volume_id, error=str(error))


async def settled(calls: Iterable[Awaitable[T]]) -> tuple[list[T], list[DriverError]]:
    """Make calls at once and wait for all of them: what they returned, and what went wrong."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, BaseException)]
    for error in errors:
        if not isinstance(error, DriverError):
            raise error
    return (
        [each for each in outcomes if not isinstance(each, BaseException)],
        [each for each in errors if isinstance(each, DriverError)],
    )
