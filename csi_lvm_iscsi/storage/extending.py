"""Thin pools: watched, and extended before they are full."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog

from csi_lvm_iscsi.initiator.blocking import start, within
from csi_lvm_iscsi.model import sizes
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.pools import Limits, Place
from csi_lvm_iscsi.storage.report import ThinPool
from csi_lvm_iscsi.storage.thin_status import Use

_log = structlog.get_logger()
# A look is one ioctl. At 25 Gbit/s some 6 GB can be written between two.
_LOOK_SECONDS = 2.0
# It may wait for a commit of the pool's metadata (drivers/md/dm-thin-metadata.c, root_lock).
_ANSWER_SECONDS = 10.0
# How long a pool that could not be extended is left alone: at first, and, twice as long each time,
# at most. Many a volume group is all taken for good.
_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 60.0


class Extender:
    """Keeps thin pools from running full while their volume groups have free extents.

    By us alone: dmeventd would do it by lvm.conf, and is to be left at its default, which is never.
    """

    def __init__(
        self,
        catalog: Catalog,
        places: list[Place],
        limits: Limits,
        use_of: Callable[[str, str], Use | None],
        free_bytes: Callable[[str], int],
    ) -> None:
        """`use_of`: how full a pool is, by volume group and name (`thin_status.pool_use`);
        `free_bytes`: what a volume group has left that nobody is to take (`Pools`)."""
        self._catalog = catalog
        self._places = places
        self._limits = limits
        self._use_of = use_of
        self._free_bytes = free_bytes
        self._asked: dict[Place, asyncio.Future[Use | None]] = {}
        self._left_alone: dict[Place, float] = {}
        self._pauses: dict[Place, float] = {}

    async def run(self) -> None:
        """Look, and extend, for ever; a pool whose disk hangs holds up no other."""
        async with asyncio.TaskGroup() as tasks:
            for place in self._places:
                tasks.create_task(self._watch(place))

    async def _watch(self, place: Place) -> None:
        while True:
            await self.look(place)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self, place: Place) -> None:
        """Take note of how full a pool is, and extend it where it is too full. What fails is
        logged, and tried again later."""
        now = asyncio.get_running_loop().time()
        try:
            pool = await self._used(place)
            if self._is_full(pool) and now >= self._left_alone.get(place, now):
                failed = self._pauses.get(place, 0)
                pause = min(2 * failed or _RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
                self._pauses[place], self._left_alone[place] = pause, now + pause
                await self._extend(place, pool, read_again=bool(failed))
                del self._pauses[place], self._left_alone[place]
        except (DriverError, OSError) as error:
            _log.error("thin pool cannot be extended", pool=str(place), error=str(error))

    async def _used(self, place: Place) -> ThinPool:
        use = await within(
            asyncio.shield(self._ask(place)),
            _ANSWER_SECONDS,
            f"Device-mapper did not tell within {_ANSWER_SECONDS:g} s how full it is: see whether "
            "the disks of its volume group answer.",
        )
        pool = self._catalog.pool(place.volume_group, place.thin_pool)
        if use is not None:
            pool = replace(pool, data_percent=use.data, metadata_percent=use.metadata)
            self._catalog.note_use(place.volume_group, pool)
        return pool

    def _ask(self, place: Place) -> "asyncio.Future[Use | None]":
        """Ask device-mapper, in a thread of the pool's own: the default ones may all be copying.
        One that hangs is waited for, so that no more of them come to hang."""
        if place not in self._asked:
            asked = start(partial(self._use_of, place.volume_group, place.thin_pool))
            asked.add_done_callback(lambda _: self._asked.pop(place))
            self._asked[place] = asked
        return self._asked[place]

    def _is_full(self, pool: ThinPool) -> bool:
        limit = self._limits.extend_at
        return limit < 100 and max(pool.data_percent, pool.metadata_percent) >= limit

    async def _extend(self, place: Place, pool: ThinPool, *, read_again: bool) -> None:
        # Not without need, as the report waits for lvm's locks while the pool fills.
        if read_again or not self._free(place):
            await self._catalog.refresh()  # a disk may have been added
        lvm = self._catalog.lvm(place.volume_group)
        # Metadata first: a pool without any is repaired by hand, one without data is only extended.
        if pool.metadata_percent >= self._limits.extend_at:
            by = self._by(place, pool.metadata_bytes)
            await lvm.extend_pool_metadata(pool.name, by)
            _log.info("metadata of a thin pool extended", pool=str(place), by=sizes.human(by))
        if pool.data_percent >= self._limits.extend_at:
            by = self._by(place, pool.size_bytes)
            await lvm.extend_pool(pool.name, by)
            _log.info("thin pool extended", pool=str(place), by=sizes.human(by))
        await self._catalog.refresh()

    def _free(self, place: Place) -> int:
        """The whole extents that nobody is to take."""
        free = self._free_bytes(place.volume_group)
        return free - free % self._catalog.group(place.volume_group).extent_bytes

    def _by(self, place: Place, size_bytes: int) -> int:
        """By how much: whole extents, as many as are free. Raises DriverError where none is."""
        group = self._catalog.group(place.volume_group)
        wanted = sizes.whole(int(size_bytes * self._limits.extend_by / 100), group.extent_bytes)
        by = min(wanted, self._free(place))
        if not by:
            raise DriverError(
                f"Volume group {place.volume_group} has no free extents: add a disk (`vgextend "
                f"{place.volume_group} DISK`), or delete volumes, before the pool is full."
            )
        return by
