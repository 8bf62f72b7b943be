"""The disks of other storage hosts, read over our own iSCSI: this host is an initiator then."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.initiator import host_rules
from csi_lvm_iscsi.initiator.attachments import Attachments
from csi_lvm_iscsi.initiator.device_mapper import Control, DeviceMapper
from csi_lvm_iscsi.initiator.devices import Devices
from csi_lvm_iscsi.initiator.host_paths import HostPaths
from csi_lvm_iscsi.initiator.maps import Maps
from csi_lvm_iscsi.initiator.node_records import LOGIN_SECONDS, STORAGE_INTERFACE, NodeRecords
from csi_lvm_iscsi.initiator.paths import Paths
from csi_lvm_iscsi.initiator.reach import Probe, answering, connects
from csi_lvm_iscsi.initiator.sessions import Sessions
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import Aborted
from csi_lvm_iscsi.model.publications import Publication


class RemoteDisks:
    """Attaches disks of other storage hosts, to copy them. Several copies may read one disk.

    Through one portal that answers, though there be several: a multipath map would keep I/O for
    ever when its paths are lost, as this role has no upkeep of paths. A session alone gives up
    after `replacement_timeout`, and the copy goes on from its record with the next call.
    """

    def __init__(
        self,
        runner: Runner,
        host: str,
        keys: Mapping[str, bytes],
        paths: HostPaths,
        *,
        mapper: DeviceMapper | None = None,
        probe: Probe = connects,
    ) -> None:
        self._records = NodeRecords(
            runner, paths.iscsi, names.initiator_iqn(host), STORAGE_INTERFACE
        )
        self._runner = runner
        self._paths = paths
        self._probe = probe
        sessions = Sessions(runner, paths.sys, STORAGE_INTERFACE)
        devices = Devices(paths.sys, paths.dev)
        maps = Maps(paths.sys, paths.dev, mapper or Control(paths.dev / "mapper/control"))
        self._attachments = Attachments(
            records=self._records,
            sessions=sessions,
            devices=devices,
            maps=maps,
            paths=Paths(self._records, sessions, devices, maps),
            keys=keys,
        )
        self._readers: Counter[str] = Counter()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @contextlib.asynccontextmanager
    async def opened(self, publication: Publication) -> AsyncIterator[Path]:
        """The disk of a publication, attached while the context lasts.

        Raises what the login raises; Unavailable where no portal answers; Aborted while it is read
        for a former publication; DriverError where this host has no open-iscsi.
        """
        disk = publication.volume_id
        self._readers[disk] += 1
        try:
            async with self._locks[disk]:
                path = await self._attach(publication)
            yield path
        finally:
            self._readers[disk] -= 1
            await self.release(disk)

    async def release(self, disk: str) -> None:
        """Log out from a disk, by its id, also if a killed role had logged in, unless it is read;
        not logged in is fine."""
        async with self._locks[disk]:
            if not self._readers[disk]:
                await self._attachments.release(disk)

    async def _attach(self, publication: Publication) -> Path:
        # Before the disk: udev would activate what the tenant's LVM has on it, which holds it open.
        await host_rules.ensure(self._runner, self._paths)
        self._records.ensure_interface()
        disk = publication.volume_id
        if self._readers[disk] > 1 and self._attachments.stale_sessions(publication):
            raise Aborted(
                f"{disk} was lent to this host anew, and is read here as it was lent before: call "
                "again when that has ended."
            )
        await self._attachments.retire_stale(publication)
        if self._attachments.session(publication) is None:
            portal, *_ = await answering(self._probe, publication.portals, LOGIN_SECONDS)
            publication = replace(publication, portals=(portal,))
        session = await self._attachments.ensure_session(publication)
        device = await self._attachments.ensure_disk(publication, session)
        return device.path
