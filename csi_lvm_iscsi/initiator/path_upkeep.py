"""Taking back the paths of multipath maps that failed, and completing those that lack some."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager

import structlog

from csi_lvm_iscsi.initiator.maps import Map, Maps
from csi_lvm_iscsi.initiator.node_records import REPLACEMENT_SECONDS
from csi_lvm_iscsi.initiator.paths import Paths, Wanted
from csi_lvm_iscsi.initiator.sessions import Session
from csi_lvm_iscsi.model import chap
from csi_lvm_iscsi.model.errors import Busy, DriverError
from csi_lvm_iscsi.model.in_flight import InFlight

_log = structlog.get_logger()
_INTERVAL_SECONDS = 2.0
# How often a portal without a session is tried, or a disk that was refused.
_COMPLETION_SECONDS = 10.0


class PathUpkeep:
    """Looks at each map now and then.

    What is there is asked of the kernel, so that a role that was restarted goes on with it. Only
    times are kept here.
    """

    def __init__(
        self,
        maps: Maps,
        paths: Paths,
        in_flight: InFlight,
        patience_seconds: float = REPLACEMENT_SECONDS,
    ) -> None:
        """`patience_seconds`: how long I/O waits for a path at least."""
        self.patience_seconds = patience_seconds
        self._maps = maps
        self._paths = paths
        self._in_flight = in_flight
        self._pathless_since: dict[str, float] = {}
        self._next_completion: dict[str, float] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look at all maps once, each for itself: one that hangs does not hold up the others."""
        try:
            maps = self._maps.all()
            sessions = self._paths.sessions_by_user() if maps else {}
        except OSError as error:
            _log.warning("maps cannot be listed", error=str(error))
            return
        for times in (self._pathless_since, self._next_completion):
            for uuid in times.keys() - {each.uuid for each in maps}:
                del times[uuid]
        await asyncio.gather(*(self._look_at(each, sessions) for each in maps))

    async def _look_at(self, map_: Map, by_user: Mapping[str, Sequence[Session]]) -> None:
        try:
            queueing = await self._maps.is_queueing(map_)
            sessions = by_user.get(chap.user(map_.volume_id, map_.nonce), ())
            if not queueing and not sessions:
                return  # it was given up for good, and waits for its last user
            states = await self._maps.paths(map_)
            takes_io = self._paths.takes_io(sessions)
            await self._reinstate(map_, takes_io, states)
            await self._bound_the_wait(
                map_, pathless=takes_io.isdisjoint(states), queueing=queueing
            )
            if self._is_due(map_):
                untaken = takes_io - states.keys() or self._paths.is_without_disk(sessions)
                await self._complete(map_, sessions, untaken=bool(untaken))
        except Busy:
            pass  # a call is at work on the volume
        except (DriverError, OSError) as error:  # a session or disk may go at any line
            _log.warning("paths cannot be kept up", map=map_.name, error=str(error))

    async def _reinstate(
        self, map_: Map, takes_io: Collection[str], states: Mapping[str, bool]
    ) -> None:
        """Send I/O again to the paths that failed and whose disk works.

        Without holding the volume: a call that writes it out may be waiting for just that. A
        publication that is torn down has its disks set offline first.
        """
        for number in sorted(takes_io):
            if states.get(number) is False:
                await self._maps.reinstate(map_, number)
                _log.info("path is back", map=map_.name, volume_id=map_.volume_id, path=number)

    async def _bound_the_wait(self, map_: Map, *, pathless: bool, queueing: bool) -> None:
        """Have I/O fail that has waited for a path as long as it would for a lone session, and
        wait again when there is one."""
        if not pathless:
            self._pathless_since.pop(map_.uuid, None)
            if not queueing:
                with self._hold(map_):
                    await self._maps.set_queueing(map_, on=True)
            return
        now = asyncio.get_running_loop().time()
        since = self._pathless_since.setdefault(map_.uuid, now)
        if queueing and now - since > self.patience_seconds:
            await self._maps.set_queueing(map_, on=False)
            _log.error("no path: I/O is given up", map=map_.name, volume_id=map_.volume_id)

    async def _complete(self, map_: Map, sessions: Sequence[Session], *, untaken: bool) -> None:
        """Log in where a portal lacks a session and answers, and take in the disks that are not in
        the map."""
        target = self._paths.target_of(map_, sessions)
        wanted = Wanted(map_.volume_id, map_.nonce, self._maps.size(map_), target)
        found = await self._paths.lost_and_found(wanted, sessions)
        if found or untaken:
            with self._hold(map_):
                await self._paths.repair(wanted, found)
            _log.info("paths were taken in", map=map_.name, volume_id=map_.volume_id, portals=found)

    def _is_due(self, map_: Map) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._next_completion.get(map_.uuid, 0):
            return False
        self._next_completion[map_.uuid] = now + _COMPLETION_SECONDS
        return True

    def _hold(self, map_: Map) -> AbstractContextManager[None]:
        return self._in_flight.hold(map_.volume_id, "Repairing its paths")
