"""Taking back the paths of multipath maps that failed, and completing those that lack some."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

import structlog

from csi_lvm_iscsi.initiator.maps import Map, Maps
from csi_lvm_iscsi.initiator.node_records import REPLACEMENT_SECONDS
from csi_lvm_iscsi.initiator.paths import Paths, missing_of
from csi_lvm_iscsi.initiator.sessions import Session
from csi_lvm_iscsi.model.errors import Busy, DriverError
from csi_lvm_iscsi.model.in_flight import InFlight

_log = structlog.get_logger()
_INTERVAL_SECONDS = 2.0
# How often a portal without a session is tried, or a disk that was refused.
_COMPLETION_SECONDS = 10.0
# A portal that takes a connection but no login holds the volume for 45 s each time.
_LONGEST_PAUSE_SECONDS = 300.0


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
        self._pauses: dict[str, float] = {}
        self._running: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Look for ever."""
        async with asyncio.TaskGroup() as looks:
            while True:
                await asyncio.sleep(_INTERVAL_SECONDS)
                self.look(looks)

    def look(self, looks: asyncio.TaskGroup) -> None:
        """Begin a look at each map, where the last one is over: each is for itself, so that one
        that hangs does not hold up the others, and a login does not hold up other paths."""
        try:
            maps = self._maps.all()
            by_user = self._paths.sessions_by_user() if maps else {}
        except OSError as error:
            _log.warning("maps cannot be listed", error=str(error))
            return
        self._forget_all_but({each.uuid for each in maps})
        for map_ in maps:
            sessions = by_user.get(map_.user, ())
            self._begin(looks, "paths", map_, self._keep_up, sessions)
            if self._is_due(map_):
                self._begin(looks, "portals", map_, self._complete, sessions)

    def _begin(
        self,
        looks: asyncio.TaskGroup,
        name: str,
        map_: Map,
        look: Callable[[Map, Sequence[Session]], Awaitable[None]],
        sessions: Sequence[Session],
    ) -> None:
        key = (name, map_.uuid)

        async def guarded() -> None:
            try:
                await look(map_, sessions)
            except Busy:
                pass  # a call is at work on the volume
            except (DriverError, OSError) as error:  # a session or disk may go at any line
                _log.warning("paths cannot be kept up", map=map_.name, error=str(error))
            finally:
                self._running.discard(key)

        if key not in self._running:
            self._running.add(key)
            looks.create_task(guarded())

    def _forget_all_but(self, uuids: Collection[str]) -> None:
        for times in (self._pathless_since, self._next_completion, self._pauses):
            for uuid in times.keys() - uuids:
                del times[uuid]

    async def _keep_up(self, map_: Map, sessions: Sequence[Session]) -> None:
        queueing = await self._maps.is_queueing(map_)
        if not queueing and not sessions:
            return  # see `_is_given_up`
        states = await self._maps.paths(map_)
        takes_io = self._paths.takes_io(sessions)
        await self._reinstate(map_, takes_io, states)
        await self._bound_the_wait(map_, pathless=takes_io.isdisjoint(states), queueing=queueing)

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
                    # It may have been torn down before it was held.
                    if self._paths.takes_io(self._paths.sessions_of(map_)):
                        await self._maps.set_queueing(map_, on=True)
            return
        now = asyncio.get_running_loop().time()
        since = self._pathless_since.setdefault(map_.uuid, now)
        if queueing and now - since > self.patience_seconds:
            await self._maps.set_queueing(map_, on=False)
            _log.error("no path: I/O is given up", map=map_.name, volume_id=map_.volume_id)

    async def _complete(self, map_: Map, sessions: Sequence[Session]) -> None:
        """Log in where a portal lacks a session and answers, and take in the disks that are not in
        the map. The volume is held meanwhile, so after a failure the next try is later each time.
        """
        if await self._is_given_up(map_, sessions):
            return
        found = await self._paths.lost_and_found(map_, sessions)
        if not found and not await self._has_untaken(map_, sessions):
            return
        with self._hold(map_):
            # What was read above is from before the volume was held.
            sessions = self._paths.sessions_of(map_)
            gone = self._maps.find(map_.volume_id, map_.nonce) is None
            if gone or await self._is_given_up(map_, sessions):
                return
            try:
                await self._paths.repair(map_, sessions, missing_of(sessions, found))
            except (DriverError, OSError):
                self._back_off(map_)
                raise
        self._pauses.pop(map_.uuid, None)
        _log.info("paths were taken in", map=map_.name, volume_id=map_.volume_id, portals=found)

    async def _is_given_up(self, map_: Map, sessions: Sequence[Session]) -> bool:
        """Whether it was given up for good, and waits for its last user."""
        return not sessions and not await self._maps.is_queueing(map_)

    async def _has_untaken(self, map_: Map, sessions: Sequence[Session]) -> bool:
        """Whether there are disks to take in, scanned for or not."""
        if self._paths.is_without_disk(sessions):
            return True
        return bool(self._paths.takes_io(sessions) - (await self._maps.paths(map_)).keys())

    def _is_due(self, map_: Map) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._next_completion.get(map_.uuid, 0):
            return False
        self._next_completion[map_.uuid] = now + _COMPLETION_SECONDS
        return True

    def _back_off(self, map_: Map) -> None:
        pause = min(2 * self._pauses.get(map_.uuid, _COMPLETION_SECONDS), _LONGEST_PAUSE_SECONDS)
        self._pauses[map_.uuid] = pause
        self._next_completion[map_.uuid] = asyncio.get_running_loop().time() + pause

    def _hold(self, map_: Map) -> AbstractContextManager[None]:
        return self._in_flight.upkeep(map_.volume_id, "Repairing its paths")
