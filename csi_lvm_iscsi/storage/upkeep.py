"""Keeping tgtd's state right over time: after it died, and each minute."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import structlog

from csi_lvm_iscsi.model.errors import Busy, DriverError, Unavailable
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.storage.exports import Exports
from csi_lvm_iscsi.storage.metrics import UpkeepState
from csi_lvm_iscsi.storage.publications import Publications
from csi_lvm_iscsi.storage.tgt import connections
from csi_lvm_iscsi.storage.tgt.version import RunningVersion

_log = structlog.get_logger()
_INTERVAL_SECONDS = 60.0
_RETRY_SECONDS = 0.1
# How long a call waits for exports that are being rebuilt; kubelet's and the sidecars' own timeouts
# are longer.
_READY_SECONDS = 8.0
# How long the portals wait for exports: of volumes that a call holds (it was past `ready` when tgtd
# died, and fails at its next request), or whose disks hang.
_PATIENCE_SECONDS = 10.0
# How long before the next try where comparing failed.
_ERROR_SECONDS = 1.0


class TgtdProcess(Protocol):
    """A way to learn of tgtd's death (`tgt.socket.ManagementSocket`)."""

    async def open_process(self) -> tuple[int, int]:
        """The tgtd of now: its process id, and a descriptor that becomes readable when it ends.
        Raises OSError."""


class Upkeep:
    """Follows the life of tgtd, which is a process of its own, and compares now and then."""

    def __init__(
        self,
        process: TgtdProcess,
        version: RunningVersion,
        publications: Publications,
        exports: Exports,
        *,
        in_flight: InFlight,
        refresh_volumes: Callable[[], Awaitable[None]],
    ) -> None:
        self._process = process
        self._version = version
        self._publications = publications
        self._exports = exports
        self._in_flight = in_flight
        self._refresh_volumes = refresh_volumes
        self._ready = asyncio.Event()
        self._rebuilding: dict[str, asyncio.Task[bool]] = {}
        self.state = UpkeepState()

    async def run(self) -> None:
        """Rebuild and compare for ever."""
        async with asyncio.TaskGroup() as tasks:
            # On its own: lvm may wait long for the group's lock, tgtd's initiators must not.
            tasks.create_task(self._refresh())
            tasks.create_task(self._follow_lives())

    async def ready(self) -> None:
        """Wait until the exports are whole. Raises Unavailable where that takes long."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise Unavailable(
                "tgtd is not running on the storage host, or its exports are being rebuilt; call "
                "again."
            ) from None

    async def _follow_lives(self) -> None:
        while True:
            try:
                pid, descriptor = await self._process.open_process()
            except OSError:
                pass  # its supervisor has not started it again yet
            else:
                await self._follow(pid, descriptor)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, pid: int, descriptor: int) -> None:
        """Serve one life of tgtd, or as much of it as goes well."""
        try:
            async with self._life(pid, descriptor) as ended:
                # Without it tgtd may be too busy to answer.
                _set_up_connections(pid, descriptor)
                while not ended.is_set():
                    await _unless(ended, self._compare())
                    if not ended.is_set():
                        _set_up_connections(pid, descriptor)
                        self._ready.set()
                    await _unless(ended, asyncio.sleep(_INTERVAL_SECONDS))
            _log.warning("tgtd ended: exports are rebuilt when it is back")
        except (DriverError, OSError) as error:
            _log.error("exports cannot be compared", error=str(error))
            await asyncio.sleep(_ERROR_SECONDS)
        finally:
            self._ready.clear()
            await self._leave_off()

    async def _compare(self) -> None:
        """Bring every export in line with its grants, then open the portals.

        One that cannot be is logged and does not hold up the others: its writers wait, as long as
        their initiators do, and the next comparison tries again.
        """
        targets = await self._exports.targets()
        volumes = {*targets, *self._publications.published()}
        wrong = {
            volume_id
            for volume_id in volumes
            if not self._publications.is_in_line(volume_id, targets.get(volume_id, []))
        }
        orphans = set(targets) - self._publications.published()
        self.state.broken = await self._rebuild(wrong)
        strays = await self._exports.remove_stray_accounts(self._publications.users)
        self.state.orphan_targets, self.state.orphan_accounts = len(orphans), strays
        self.state.compared_at = time.time()
        if opened := await self._exports.open_portals():
            _log.info("exports are whole, portals open", volumes=len(volumes), portals=opened)

    async def _rebuild(self, wrong: set[str]) -> int:
        """Rebuild these volumes' exports at once; how many are not, and not because of a call.

        What takes long goes on beside: a disk that hangs must not keep the portals shut for all.
        """
        if not wrong:
            return 0
        tasks = {self._rebuilding_of(volume_id) for volume_id in sorted(wrong)}
        ended, late = await asyncio.wait(tasks, timeout=_PATIENCE_SECONDS)
        if late:
            _log.warning("exports are still being rebuilt: portals wait no longer", left=len(late))
        return len(late) + sum(not task.result() for task in ended)

    async def _leave_off(self) -> None:
        for task in self._rebuilding.values():
            task.cancel()
        if self._rebuilding:
            await asyncio.wait(self._rebuilding.values())

    def _rebuilding_of(self, volume_id: str) -> asyncio.Task[bool]:
        if volume_id not in self._rebuilding:
            task = asyncio.create_task(self._rebuild_one(volume_id))
            task.add_done_callback(lambda _: self._rebuilding.pop(volume_id))
            self._rebuilding[volume_id] = task
        return self._rebuilding[volume_id]

    async def _rebuild_one(self, volume_id: str) -> bool:
        """Rebuild an export; while a call has the volume, or something does not answer, again as
        long as the portals wait. False where it cannot be."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while (error := await self._restore(volume_id)) is not None:
            again = isinstance(error, Busy | Unavailable)
            if not again or asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(_RETRY_SECONDS)
        if error is None or isinstance(error, Busy):
            return True
        _log.error("export cannot be rebuilt", volume_id=volume_id, error=str(error))
        return False

    async def _restore(self, volume_id: str) -> DriverError | None:
        try:
            with self._in_flight.upkeep(volume_id, "Rebuilding the export"):
                await self._publications.restore(volume_id)
        except DriverError as error:
            return error
        self.state.rebuilt += 1
        return None

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                await self._refresh_volumes()
            except DriverError as error:
                _log.error("volume group cannot be read", error=str(error))

    @contextlib.asynccontextmanager
    async def _life(self, pid: int, descriptor: int) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the tgtd of this pidfd ends: it becomes readable then
        (pidfd_open(2)). It is closed at the end."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        self.state.tgtd_runs = True
        try:
            await self._version.ask(pid)
            yield ended
        finally:
            self.state.tgtd_runs = False
            loop.remove_reader(descriptor)
            os.close(descriptor)


def _set_up_connections(pid: int, descriptor: int) -> None:
    try:
        connections.set_up(pid, descriptor)
    except OSError as error:
        _log.warning(
            "tgtd's connections cannot be set up: a node that vanishes while it reads may hold up "
            "all volumes of this host for a quarter of an hour",
            error=str(error),
        )


async def _unless(ended: asyncio.Event, work: Awaitable[None]) -> None:
    """Do `work`, or leave off when the event comes: what is half done is found by the next
    comparison. Raises what `work` raises."""
    doing = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
    finally:
        doing.cancel()
        waiting.cancel()
