"""Taking back the paths of multipath maps that failed, and completing those that lack some."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager

import structlog

from csi_lvm_iscsi.initiator.maps import Map, Maps
from csi_lvm_iscsi.initiator.node_records import REPLACEMENT_SECONDS
from csi_lvm_iscsi.initiator.paths import Paths, Wanted
from csi_lvm_iscsi.model.errors import Busy, DriverError, FailedPrecondition
from csi_lvm_iscsi.model.in_flight import InFlight

_log = structlog.get_logger()
_INTERVAL_SECONDS = 2.0
# How often a portal without a session is tried.
_LOGIN_INTERVAL_SECONDS = 10.0


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
        self._next_login: dict[str, float] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look at all maps once, each for itself: one that hangs does not hold up the others."""
        maps = self._maps.all()
        for times in (self._pathless_since, self._next_login):
            for uuid in times.keys() - {each.uuid for each in maps}:
                del times[uuid]
        await asyncio.gather(*map(self._look_at, maps))

    async def _look_at(self, map_: Map) -> None:
        try:
            wanted = Wanted(map_.volume_id, map_.nonce, self._maps.size(map_))
            queueing = await self._maps.is_queueing(map_)
            if not queueing and not self._paths.sessions(wanted):
                return  # it was given up for good, and waits for its last user
            states = await self._maps.paths(map_)
            await self._reinstate(map_, wanted, states)
            await self._bound_the_wait(map_, wanted, states, queueing=queueing)
            await self._complete(map_, wanted, states)
        except Busy:
            pass  # a call is at work on the volume
        except DriverError as error:
            _log.warning("paths cannot be kept up", map=map_.name, error=str(error))

    async def _reinstate(self, map_: Map, wanted: Wanted, states: Mapping[str, bool]) -> None:
        """Send I/O again to the paths that failed and whose disk works.

        Without holding the volume: a call that writes it out may be waiting for just that. A
        publication that is torn down has its disks set offline first.
        """
        for number in sorted(self._paths.takes_io(wanted)):
            if states.get(number) is False:
                await self._maps.reinstate(map_, number)
                _log.info("path is back", map=map_.name, volume_id=map_.volume_id, path=number)

    async def _bound_the_wait(
        self, map_: Map, wanted: Wanted, states: Mapping[str, bool], *, queueing: bool
    ) -> None:
        """Have I/O fail that has waited for a path as long as it would for a lone session, and
        wait again when there is one."""
        if not self._paths.takes_io(wanted).isdisjoint(states):
            self._pathless_since.pop(map_.uuid, None)
            if not queueing:
                with self._hold(map_):
                    await self._maps.set_queueing(map_, on=True)
            return
        now = asyncio.get_running_loop().time()
        since = self._pathless_since.setdefault(map_.uuid, now)
        if queueing and now - since > self.patience_seconds:
            await self._give_up(map_, "no path for long")

    async def _complete(self, map_: Map, wanted: Wanted, states: Mapping[str, bool]) -> None:
        """Log in where there is no session, and take in the disks that are not in the map."""
        untaken = self._paths.takes_io(wanted) - states.keys()
        found = await self._answering_now(map_, wanted)
        if not (untaken or found or self._paths.is_without_disk(wanted)):
            return
        with self._hold(map_):
            errors = await self._paths.repair(wanted, found)
        refused = any(isinstance(error, FailedPrecondition) for error in errors)
        if refused and not self._paths.sessions(wanted):
            # With a lone session I/O would fail as soon as iscsid hears this.
            await self._give_up(map_, "the volume is not published here any more")
        elif not errors:
            _log.info("paths are taken in", map=map_.name, volume_id=map_.volume_id, portals=found)

    async def _answering_now(self, map_: Map, wanted: Wanted) -> list[str]:
        now = asyncio.get_running_loop().time()
        if now < self._next_login.get(map_.uuid, 0):
            return []
        self._next_login[map_.uuid] = now + _LOGIN_INTERVAL_SECONDS
        return await self._paths.lost_and_found(wanted)

    async def _give_up(self, map_: Map, why: str) -> None:
        await self._maps.set_queueing(map_, on=False)
        _log.error("I/O is given up", why=why, map=map_.name, volume_id=map_.volume_id)

    def _hold(self, map_: Map) -> AbstractContextManager[None]:
        return self._in_flight.hold(map_.volume_id, "Repairing its paths")
