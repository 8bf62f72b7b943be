"""The snapshots of this host: taken and deleted. Callers hold them (`model.in_flight`)."""

from collections.abc import Callable

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import AlreadyExists
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.pools import Place, Pools
from csi_lvm_iscsi.storage.report import LogicalVolume
from csi_lvm_iscsi.storage.stored import StoredSnapshot, StoredVolume, snapshot_tags
from csi_lvm_iscsi.storage.volumes import discard


class Snapshots:
    """Takes and deletes snapshots.

    A thin one shares the pool's blocks with its origin, and outlives it. A thick one is a
    copy-on-write store, which needs its origin: that is kept, hidden, when the volume is deleted.
    """

    def __init__(
        self,
        catalog: Catalog,
        pools: Pools,
        now_seconds: Callable[[], int],
        waste_made: Callable[[], None],
    ) -> None:
        self._catalog = catalog
        self._pools = pools
        self._now_seconds = now_seconds
        self._waste_made = waste_made

    def id_of(self, name: str, volume_id: str) -> str:
        """The id that a snapshot of this name has, of this volume. Raises NotFound."""
        volume = self._catalog.volume(volume_id)
        return names.snapshot_id(self._catalog.group(volume.volume_group).uuid, name)

    async def ensure(self, name: str, volume_id: str, *, internal: bool = False) -> StoredSnapshot:
        """Have the snapshot: taken now, or the one that exists. It is as of one moment, as after a
        power cut: what nodes have cached of the volume is not in it.

        Raises AlreadyExists where it exists of another volume, OutOfSpace, FailedPrecondition
        where the volume is not finished.
        """
        names.check_name(name, "snapshot")
        snapshot_id = self.id_of(name, volume_id)
        if not self._catalog.has_snapshot(snapshot_id):
            await self._take(name, self._catalog.volume(volume_id), internal=internal)
        snapshot = self._catalog.snapshot(snapshot_id)
        if snapshot.volume_id != volume_id:
            raise AlreadyExists(
                f"Snapshot {name} exists, of volume {snapshot.volume_id}. Choose another name, or "
                "delete it first."
            )
        return snapshot

    async def _take(self, name: str, volume: StoredVolume, *, internal: bool) -> None:
        volume.check_finished()
        self._pools.check_open(Place(volume.volume_group, volume.thin_pool))
        snapshot_id = self.id_of(name, volume.id)
        snapshot = StoredSnapshot(
            id=snapshot_id,
            name=name,
            volume_id=volume.id,
            size_bytes=volume.size_bytes,
            created_seconds=self._now_seconds(),
            volume_group=volume.volume_group,
            thin_pool=volume.thin_pool,
            logical_volume=snapshot_id,
            internal=internal,
        )
        lvm = self._catalog.lvm(volume.volume_group)
        tags = snapshot_tags(snapshot)
        if volume.thin_pool:
            making = lvm.snapshot_thin(volume.logical_volume, snapshot_id, tags, writable=False)
            made = _thin(snapshot, tags, volume)
        else:
            making = lvm.snapshot_thick(volume.logical_volume, snapshot_id, tags)
            made = None  # how large the store is, lvm chooses
        await self._catalog.make(volume.volume_group, making, made)

    async def delete(self, snapshot_id: str) -> None:
        """Remove the snapshot; gone already is fine. Raises FailedPrecondition where it is open."""
        if not self._catalog.has_snapshot(snapshot_id):
            await self._catalog.refresh()
        if not self._catalog.has_snapshot(snapshot_id):
            return
        await discard(self._catalog, self._catalog.snapshot(snapshot_id))
        self._waste_made()


def _thin(snapshot: StoredSnapshot, tags: list[str], volume: StoredVolume) -> LogicalVolume:
    return LogicalVolume(
        name=snapshot.logical_volume,
        size_bytes=volume.size_bytes,
        tags=tuple(tags),
        thin_pool=volume.thin_pool,
        origin=volume.logical_volume,
    )
