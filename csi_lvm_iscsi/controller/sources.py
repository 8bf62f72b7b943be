"""What new volumes begin with: a snapshot or a volume, on whichever storage host it is."""

from dataclasses import dataclass

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import FailedPrecondition
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.storage_client.host import StorageHost
from csi_lvm_iscsi.storage_client.membership import Membership


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot or volume, and the storage host that has it."""

    id: str
    host: StorageHost
    size_bytes: int

    def distance(self, host: StorageHost, pool: Pool) -> int:
        """How far a new volume there is: 0 in its volume group, 1 on its host, 2 elsewhere."""
        if host is not self.host:
            return 2
        in_group = names.volume_group_hash(pool.volume_group_uuid) == self.id.partition("-")[0]
        return 0 if in_group else 1


class Sources:
    """Finds sources, and lets other storage hosts read them."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    async def find(self, source_id: str) -> Source:
        """A snapshot or volume. Raises NotFound, or Unavailable where its host does not answer."""
        host = self._membership.owner_or_refuse(source_id)
        if names.is_snapshot_id(source_id):
            return Source(source_id, host, (await host.get_snapshot(source_id)).size_bytes)
        volume = await host.get(source_id)
        if volume.copying:
            raise FailedPrecondition(
                f"Volume {source_id} is still being made itself: call again when it is done."
            )
        return Source(source_id, host, volume.size_bytes)

    async def lend(self, source: Source, reader: StorageHost, volume_id: str) -> Publication:
        """Export a source to the storage host that makes the volume of it: read-only, and of a
        volume a snapshot, as it may be written meanwhile."""
        snapshot_id = source.id
        if not names.is_snapshot_id(source.id):
            name = names.copy_name(volume_id)
            snapshot_id = (await source.host.create_snapshot(name, source.id, internal=True)).id
        return await source.host.publish(
            snapshot_id, reader.entry.name, read_only=True, shared=True
        )

    async def take_back(self, source_id: str, reader: StorageHost, volume_id: str) -> None:
        """Undo `lend`; undone already is fine."""
        host = self._membership.owner(source_id)
        if host is None or host is reader:
            return
        if names.is_snapshot_id(source_id):
            if not await _is_read(source_id, reader, volume_id):
                await host.unpublish(source_id, reader.entry.name)
            return
        snapshot_id = names.copy_snapshot_id(source_id, volume_id)
        await host.unpublish(snapshot_id, "")
        await host.delete_snapshot(snapshot_id)


async def _is_read(snapshot_id: str, reader: StorageHost, volume_id: str) -> bool:
    """Whether a host copies a snapshot into another volume than this one, too."""
    return any(
        each.copying and each.source_id == snapshot_id and each.id != volume_id
        for each in await reader.volumes()
    )
