"""New volumes that begin with the data of a snapshot or of another volume."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import FailedPrecondition, OutOfSpace
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.copying import Copies, Opened
from csi_lvm_iscsi.storage.devices import Devices
from csi_lvm_iscsi.storage.pools import Place
from csi_lvm_iscsi.storage.snapshots import Snapshots
from csi_lvm_iscsi.storage.stored import StoredSnapshot, StoredVolume
from csi_lvm_iscsi.storage.volumes import Volumes, Wanted


class Remote(Protocol):
    """A way to read the disk of another storage host."""

    def opened(self, publication: Publication) -> Opened:
        """The disk, attached while the context lasts."""

    async def release(self, disk: str) -> None:
        """Have the disk not attached, unless it is being read."""


class Sources:
    """Makes volumes of sources: at once where LVM can, else by copying."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        volumes: Volumes,
        snapshots: Snapshots,
        copies: Copies,
        devices: Devices,
        remote: Remote,
    ) -> None:
        self._catalog = catalog
        self._volumes = volumes
        self._snapshots = snapshots
        self._copies = copies
        self._devices = devices
        self._remote = remote

    async def create(self, wanted: Wanted, publication: Publication | None) -> StoredVolume:
        """Have the volume, with the data of its source if it has one. `publication`: how to read
        that where it is another host's; without, the volume is made and left unfinished, so that
        there is a record of what is going to be lent for it.

        Raises what `Volumes.ensure` does; NotFound without the source; Aborted while it is copied.
        """
        if not wanted.source_id or self._is_finished(wanted):
            return await self._volumes.ensure(wanted)
        try:
            return await self._begun_with(wanted, publication)
        except OutOfSpace:
            # Another place will be tried: nothing may stay in this one.
            volume_id = self._volumes.id_of(wanted)
            if self._catalog.has_volume(volume_id):
                await self.abandon(volume_id)
                await self._volumes.delete(volume_id)
            raise

    async def _begun_with(self, wanted: Wanted, publication: Publication | None) -> StoredVolume:
        if publication is not None:
            wanted = replace(wanted, source_bytes=publication.size_bytes)
            return await self._copied(wanted, lambda: self._remote.opened(publication))
        if not self._is_here(wanted.source_id):
            return await self._ensured(wanted)
        source = self._source(wanted.source_id)
        wanted = replace(wanted, source_bytes=self._bytes_of(source, wanted))
        if source.thin_pool and _place_of(source) == wanted.place:
            return await self._volumes.clone(wanted, source)
        return await self._copied(wanted, lambda: self._opened(wanted, source))

    async def abandon(self, volume_id: str) -> None:
        """Stop making a volume: no copy runs, and nothing that was needed for it is left here."""
        if await self._copies.forget(volume_id):
            await self._catalog.refresh()  # it may have taken its snapshot all the same
        if self.is_borrowing(volume_id):
            source_id = lent = self._catalog.volume(volume_id).source_id
            if not names.is_snapshot_id(source_id):
                lent = names.copy_snapshot_id(source_id, volume_id)
            await self._remote.release(lent)
        for snapshot in self._catalog.snapshots():
            if snapshot.internal and snapshot.name == names.copy_name(volume_id):
                await self._snapshots.delete(snapshot.id)

    def is_borrowing(self, volume_id: str) -> bool:
        """Whether a volume is being made of a source on another host."""
        if not self._catalog.has_volume(volume_id):
            return False
        volume = self._catalog.volume(volume_id)
        return volume.unfinished and not self._is_here(volume.source_id)

    def _is_here(self, source_id: str) -> bool:
        here = {names.volume_group_hash(group.uuid) for group in self._catalog.groups()}
        return source_id.partition("-")[0] in here

    def _bytes_of(self, source: StoredVolume | StoredSnapshot, wanted: Wanted) -> int:
        """How much there is to copy: of a volume, which may grow meanwhile, what our snapshot of
        it has."""
        volume_id = self._volumes.id_of(wanted)
        taken = names.copy_snapshot_id(source.id, volume_id)
        if self._catalog.has_snapshot(taken):
            return self._catalog.snapshot(taken).size_bytes
        return source.size_bytes

    def check_unread(self, source_id: str) -> None:
        """Raise FailedPrecondition where a volume is being made of this snapshot."""
        for volume in self._catalog.volumes():
            if volume.unfinished and volume.source_id == source_id:
                raise FailedPrecondition(
                    f"Volume {volume.id} is being made of {source_id}: wait until that is done, or "
                    "delete that volume first."
                )

    def _is_finished(self, wanted: Wanted) -> bool:
        volume_id = self._volumes.id_of(wanted)
        return (
            self._catalog.has_volume(volume_id) and not self._catalog.volume(volume_id).unfinished
        )

    def _source(self, source_id: str) -> StoredVolume | StoredSnapshot:
        if names.is_snapshot_id(source_id):
            return self._catalog.snapshot(source_id)
        return self._catalog.volume(source_id)

    async def _ensured(self, wanted: Wanted) -> StoredVolume:
        """Have the volume, unfinished where it is made now."""
        volume_id = self._volumes.id_of(wanted)
        is_new = not self._catalog.has_volume(volume_id)
        volume = await self._volumes.ensure(wanted)
        if is_new and volume.unfinished:
            self._copies.begin(volume_id)
        return volume

    async def _copied(self, wanted: Wanted, open_source: Callable[[], Opened]) -> StoredVolume:
        volume = await self._ensured(wanted)
        if volume.unfinished:
            if not self._copies.is_complete(volume.id, wanted.source_bytes):
                device = await self._devices.ensure(volume.volume_group, volume.logical_volume)
                await self._copies.ensure(
                    volume.id,
                    wanted.source_bytes,
                    open_source,
                    Path(device.path),
                    # Of a thick one's extents LVM promises nothing.
                    sparse=bool(volume.thin_pool),
                )
            # In this order: while it is unfinished, a killed role comes back here.
            await self.abandon(volume.id)
            volume = await self._volumes.finish(volume.id)
        return volume

    @contextlib.asynccontextmanager
    async def _opened(
        self, wanted: Wanted, source: StoredVolume | StoredSnapshot
    ) -> AsyncIterator[Path]:
        """The device of a source of this host. A volume may be written meanwhile: a snapshot of it
        is read."""
        if isinstance(source, StoredVolume):
            volume_id = self._volumes.id_of(wanted)
            name = names.copy_name(volume_id)
            source = await self._snapshots.ensure(name, source.id, internal=True)
        device = await self._devices.ensure(source.volume_group, source.logical_volume)
        try:
            yield Path(device.path)
        finally:
            if source.thin_pool:
                await self._catalog.lvm(source.volume_group).deactivate(source.logical_volume)


def _place_of(source: StoredVolume | StoredSnapshot) -> Place:
    return Place(source.volume_group, source.thin_pool)
