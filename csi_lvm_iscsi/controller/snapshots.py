"""What the controller does with snapshots: they are on the storage host of their volume."""

import asyncio
import contextlib

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import AlreadyExists, NotFound, Unavailable
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.model.volumes import Snapshot
from csi_lvm_iscsi.storage_client.host import StorageHost
from csi_lvm_iscsi.storage_client.membership import Membership


class Snapshots:
    """The snapshots of all storage hosts."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._names = InFlight()

    async def create(self, name: str, volume_id: str) -> Snapshot:
        """Take the snapshot, or answer with the one that has the name. Raises NotFound for an
        unknown volume, AlreadyExists where the name is of a snapshot of another one."""
        names.check_name(name, "snapshot")
        host = self._membership.owner_or_refuse(volume_id)
        async with self._names.call(name, "CreateSnapshot"):
            hosts = self._membership.hosts
            for found in await asyncio.gather(*(_find(each, name) for each in hosts)):
                if found is not None and found.volume_id != volume_id:
                    raise AlreadyExists(
                        f"Snapshot {name} exists, of volume {found.volume_id}. Choose another "
                        "name, or delete it first."
                    )
            return await host.create_snapshot(name, volume_id)

    async def delete(self, snapshot_id: str) -> None:
        """Remove the snapshot; an unknown one is gone already."""
        host = self._membership.owner(snapshot_id)
        if host is None:
            return
        # What was lent to one that is retired since is never given back.
        for reader in self._membership.known:
            if reader.entry.retired:
                await host.unpublish(snapshot_id, reader.entry.name)
        await host.delete_snapshot(snapshot_id)

    async def get(self, snapshot_id: str) -> Snapshot:
        """Find the snapshot. Raises NotFound."""
        return await self._membership.owner_or_refuse(snapshot_id).get_snapshot(snapshot_id)

    async def all(self, snapshot_id: str = "", volume_id: str = "") -> list[Snapshot]:
        """All snapshots, or the one with the id, or those of the volume. Raises Unavailable where
        a host does not answer."""
        if snapshot_id:
            host = self._membership.owner(snapshot_id)
            if host is not None:
                with contextlib.suppress(NotFound):
                    return [await host.get_snapshot(snapshot_id)]
            return []
        lists = await asyncio.gather(*(host.snapshots() for host in self._membership.hosts))
        return sorted(
            (each for found in lists for each in found if volume_id in ("", each.volume_id)),
            key=lambda each: each.id,
        )


async def _find(host: StorageHost, name: str) -> Snapshot | None:
    """A host's snapshot of this name. One of a host that is silent is not known of: the name is
    looked for only so that a mistake shows."""
    for snapshot_id in host.snapshot_ids_of(name):
        with contextlib.suppress(NotFound, Unavailable):
            return await host.get_snapshot(snapshot_id)
    return None
