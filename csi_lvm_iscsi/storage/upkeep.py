"""Keeping tgtd's state right over time: after it died, and each minute."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import structlog

from csi_lvm_iscsi.model.errors import Busy, DriverError, Unavailable
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.storage.exports import Exports
from csi_lvm_iscsi.storage.publications import Publications
from csi_lvm_iscsi.storage.tgt.socket import ManagementSocket
from csi_lvm_iscsi.storage.volumes import Volumes

_log = structlog.get_logger()
_INTERVAL_SECONDS = 60.0
_RETRY_SECONDS = 0.1
# How long a publish waits for exports that are being rebuilt; kubelet's and the sidecars' own
# timeouts are longer.
_READY_SECONDS = 8.0


class Upkeep:
    """Follows the life of tgtd, which is a process of its own, and compares now and then."""

    def __init__(
        self,
        management: ManagementSocket,
        volumes: Volumes,
        publications: Publications,
        exports: Exports,
        in_flight: InFlight,
    ) -> None:
        self._management = management
        self._volumes = volumes
        self._publications = publications
        self._exports = exports
        self._in_flight = in_flight
        self._ready = asyncio.Event()

    async def run(self) -> None:
        """Rebuild and compare for ever."""
        while True:
            try:
                async with self._tgtd_process() as ended:
                    await self._follow(ended)
            except (OSError, Unavailable):
                await asyncio.sleep(_RETRY_SECONDS)  # until tgtd's supervisor has started it again
            finally:
                self._ready.clear()

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

    async def _follow(self, ended: asyncio.Event) -> None:
        """Serve one life of tgtd."""
        while not ended.is_set():
            await self._compare(ended)
            self._ready.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS):
                    await ended.wait()
            if not ended.is_set():
                await self._refresh()
        _log.warning("tgtd ended: exports are rebuilt when it is back")

    async def _compare(self, ended: asyncio.Event) -> None:
        """Bring every export in line with its grants, then open the portals.

        One that cannot be is logged and does not hold up the others: its writers wait, as long as
        their initiators do, and the next comparison tries again.
        """
        volumes = await self._exports.exported() | self._publications.published()
        for volume_id in sorted(volumes):
            try:
                with self._in_flight.hold(volume_id, "Rebuilding the export"):
                    await self._publications.restore(volume_id)
            except Busy:
                continue  # the operation that holds it brings it in line itself
            except DriverError as error:
                if ended.is_set():
                    return
                _log.error("export cannot be rebuilt", volume_id=volume_id, error=str(error))
        await self._exports.remove_stray_accounts(self._publications.published)
        if await self._exports.open_portals():
            _log.info("exports are rebuilt and portals open", volumes=len(volumes))

    async def _refresh(self) -> None:
        try:
            await self._volumes.refresh()
        except DriverError as error:
            _log.error("volume group cannot be read", error=str(error))

    @contextlib.asynccontextmanager
    async def _tgtd_process(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the tgtd that runs now ends. The kernel tells: a pidfd becomes
        readable (pidfd_open(2)). Raises OSError where none runs."""
        descriptor = await self._management.open_process()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            yield ended
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
