"""Publishing a volume to a node and taking it back: first the durable grant, then the export."""

from collections.abc import Callable, Mapping

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import FailedPrecondition, NotFound, Unavailable
from csi_lvm_iscsi.model.publications import LUN, Publication
from csi_lvm_iscsi.storage.devices import Devices
from csi_lvm_iscsi.storage.exports import Exports, is_in_line
from csi_lvm_iscsi.storage.grants import Grant, GrantRecords
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.tgt.target import Target


class Publications:
    """The publications of this host. Callers hold the volume (`model.in_flight`)."""

    def __init__(
        self,
        devices: Devices,
        grants: GrantRecords,
        exports: Exports,
        *,
        portals: Portals,
        keys: Mapping[str, bytes],
        new_nonce: Callable[[], str],
    ) -> None:
        self._devices = devices
        self._grants = grants
        self._exports = exports
        self._portals = portals
        self._keys = keys
        self._new_nonce = new_nonce

    def nodes_of(self, volume_id: str) -> tuple[str, ...]:
        """The nodes that a volume is published to."""
        return tuple(grant.node_id for grant in self._grants.of(volume_id))

    def published(self) -> set[str]:
        """The ids of all volumes that are published."""
        return set(self._grants.all())

    async def publish(
        self, volume_id: str, node_id: str, *, read_only: bool, shared: bool
    ) -> Publication:
        """Export the volume to the node. Raises NotFound, FailedPrecondition where another node
        has it."""
        portals = self._portals.known()
        for other in self.nodes_of(volume_id):
            if other != node_id:
                raise FailedPrecondition(
                    f"Volume {volume_id} is published to node {other}: unpublish it there first."
                )
        device = await self._devices.of(volume_id)
        if not self._grants.of(volume_id):
            self._grants.set(volume_id, [Grant(node_id, self._new_nonce(), self._newest_key())])
        grants = self._grants.of(volume_id)
        await self._exports.ensure(volume_id, grants, device.path)
        return Publication(
            volume_id=volume_id,
            node_id=node_id,
            target=names.target_iqn(volume_id),
            portals=portals,
            lun=LUN,
            serial=names.serial(volume_id),
            size_bytes=device.size_bytes,
            nonce=grants[0].nonce,
            key_id=grants[0].key_id,
        )

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """Fence the node (an empty name: every node) off the volume; not published is fine.

        What tgtd holds is looked at in any case: an earlier call may have been killed between the
        grant and the fence.
        """
        grants = self._grants.of(volume_id)
        kept = tuple(grant for grant in grants if node_id not in ("", grant.node_id))
        if kept != grants:
            self._grants.set(volume_id, kept)
        await self.restore(volume_id)

    async def ensure_unpublished(self, volume_id: str) -> None:
        """Have nothing exported of a volume that is to be deleted. Raises FailedPrecondition where
        a node has it."""
        nodes = self.nodes_of(volume_id)
        if nodes:
            raise FailedPrecondition(
                f"Volume {volume_id} is published to node {', '.join(nodes)}: unpublish it first."
            )
        await self.restore(volume_id)

    def is_in_line(self, volume_id: str, target: Target | None) -> bool:
        """Whether `target`, as tgtd showed it, follows the grants of the volume."""
        grants = self._grants.of(volume_id)
        if not grants:
            return target is None
        try:
            device = self._devices.path_of(volume_id)
        except NotFound:
            return False  # restoring it tells why
        return is_in_line(target, volume_id, grants, device)

    async def restore(self, volume_id: str) -> None:
        """Make tgtd's state follow the grants of one volume."""
        grants = self._grants.of(volume_id)
        if grants:
            device = await self._devices.of(volume_id)
            await self._exports.ensure(volume_id, grants, device.path)
        else:
            await self._exports.remove(volume_id)

    def _newest_key(self) -> str:
        if not self._keys:
            raise Unavailable(
                "There is no CHAP key on the storage host: put one into the directory given by "
                "--chap-keys."
            )
        return max(self._keys)
