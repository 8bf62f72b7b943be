"""Taking back the paths of multipath maps that failed, and completing those that lack some."""

import asyncio

import structlog

from csi_lvm_iscsi.initiator.maps import Map, Maps
from csi_lvm_iscsi.initiator.node_records import REPLACEMENT_SECONDS
from csi_lvm_iscsi.initiator.paths import Paths, Wanted
from csi_lvm_iscsi.model.errors import Busy, DriverError
from csi_lvm_iscsi.model.in_flight import InFlight

_log = structlog.get_logger()
_INTERVAL_SECONDS = 2.0
# How often a portal without a session is tried.
_LOGIN_INTERVAL_SECONDS = 10.0


class PathUpkeep:
    """Looks at each map now and then.

    What is there is asked of the kernel, so that a role that was restarted goes on with it. Only
    how long a map has had no path at all is counted here.
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
        self._given_up: set[str] = set()
        self._next_login: dict[str, float] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look at all maps once, each for itself: one that hangs does not hold up the others."""
        maps = self._maps.all()
        self._forget_all_but({each.uuid for each in maps})
        await asyncio.gather(*map(self._look_at, maps))

    def _forget_all_but(self, uuids: set[str]) -> None:
        self._given_up &= uuids
        for times in (self._pathless_since, self._next_login):
            for uuid in times.keys() - uuids:
                del times[uuid]

    async def _look_at(self, map_: Map) -> None:
        try:
            await self._reinstate(map_)
            await self._complete(map_)
        except Busy:
            pass  # a call is at work on the volume
        except (DriverError, OSError) as error:  # OSError: it went while it was read
            _log.warning("paths cannot be kept up", map=map_.name, error=str(error))

    async def _reinstate(self, map_: Map) -> None:
        """Send I/O again to the paths that failed and whose disk works.

        Without holding the volume: a call that writes it out may be waiting for just that. A
        publication that is torn down has its disks set offline first.
        """
        states = await self._maps.paths(map_)
        takes_io = self._paths.takes_io(_wanted(map_, 0))
        for number in sorted(takes_io):
            if states.get(number) is False:
                await self._maps.reinstate(map_, number)
                _log.info("path is back", map=map_.name, volume_id=map_.volume_id, path=number)
        await self._bound_the_wait(map_, pathless=takes_io.isdisjoint(states))

    async def _bound_the_wait(self, map_: Map, *, pathless: bool) -> None:
        """Have I/O fail that has waited for a path as long as it would for a lone session."""
        now = asyncio.get_running_loop().time()
        if pathless:
            since = self._pathless_since.setdefault(map_.uuid, now)
            if now - since > self.patience_seconds and map_.uuid not in self._given_up:
                await self._maps.set_queueing(map_, on=False)
                self._given_up.add(map_.uuid)
                _log.error("no path: I/O is given up", map=map_.name, volume_id=map_.volume_id)
            return
        self._pathless_since.pop(map_.uuid, None)
        if map_.uuid in self._given_up:
            with self._in_flight.hold(map_.volume_id, "Repairing its paths"):
                await self._maps.set_queueing(map_, on=True)
            self._given_up.discard(map_.uuid)

    async def _complete(self, map_: Map) -> None:
        """Log in where there is no session, and take in the disks that are not in the map."""
        wanted = _wanted(map_, self._maps.size(map_))
        states = await self._maps.paths(map_)
        untaken = self._paths.takes_io(wanted) - states.keys()
        found = await self._answering_now(map_, wanted)
        if untaken or found or self._paths.is_without_disk(wanted):
            with self._in_flight.hold(map_.volume_id, "Repairing its paths"):
                await self._paths.repair(wanted, found)
            _log.info("paths are taken in", map=map_.name, volume_id=map_.volume_id, portals=found)

    async def _answering_now(self, map_: Map, wanted: Wanted) -> list[str]:
        now = asyncio.get_running_loop().time()
        if now < self._next_login.get(map_.uuid, 0):
            return []
        self._next_login[map_.uuid] = now + _LOGIN_INTERVAL_SECONDS
        return await self._paths.lost_and_found(wanted)


def _wanted(map_: Map, size_bytes: int) -> Wanted:
    return Wanted(map_.volume_id, map_.nonce, size_bytes)
