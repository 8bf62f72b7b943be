"""Publishing a volume to a node and taking it back: first the durable grant, then the export."""

from collections.abc import Callable, Mapping, Sequence

from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
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

    def users(self) -> set[str]:
        """The CHAP users of all publications."""
        return {
            chap.user(volume_id, grant.nonce)
            for volume_id, grants in self._grants.all().items()
            for grant in grants
        }

    async def publish(
        self, volume_id: str, node_id: str, *, read_only: bool, shared: bool
    ) -> Publication:
        """Export the volume to the node. Raises NotFound, FailedPrecondition where another node
        has it and not both share it, AlreadyExists where the node has it in another way."""
        if names.is_snapshot_id(volume_id) and not read_only:
            raise InvalidArgument(f"{volume_id} is a snapshot: it is published read-only.")
        portals = self._portals.known()
        grants = self._grants.of(volume_id)
        grant = self._grant(volume_id, node_id, read_only=read_only, shared=shared)
        device = await self._devices.of(volume_id)
        if grant not in grants:
            grants = (*grants, grant)
            self._grants.set(volume_id, grants)
        await self._exports.ensure(volume_id, grants, device)
        return Publication(
            volume_id=volume_id,
            node_id=node_id,
            target=grant.target(volume_id),
            portals=portals,
            lun=LUN,
            serial=names.serial(volume_id),
            size_bytes=device.size_bytes,
            nonce=grant.nonce,
            key_id=grant.key_id,
            read_only=grant.read_only,
        )

    def _grant(self, volume_id: str, node_id: str, *, read_only: bool, shared: bool) -> Grant:
        """The grant that the node has, or is to have."""
        grants = self._grants.of(volume_id)
        for grant in grants:
            if grant.node_id == node_id:
                _check_same(volume_id, grant, read_only=read_only, shared=shared)
                return grant
        for other in grants:
            _check_shared(volume_id, other, read_only=read_only, shared=shared)
        return Grant(node_id, self._new_nonce(), self._newest_key(), read_only, shared)

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """Fence the node (an empty name: every node) off the volume; not published is fine.

        What tgtd holds is looked at in any case: an earlier call may have been killed between the
        grant and the fence.
        """
        grants = self._grants.of(volume_id)
        kept = tuple(grant for grant in grants if node_id not in ("", grant.node_id))
        if kept != grants:
            self._grants.set(volume_id, kept)
        await self._exports.remove(volume_id, kept)

    async def ensure_unpublished(self, volume_id: str) -> None:
        """Have nothing exported of a volume that is to be deleted. Raises FailedPrecondition where
        a node has it."""
        nodes = self.nodes_of(volume_id)
        if nodes:
            raise FailedPrecondition(
                f"Volume {volume_id} is published to node {', '.join(nodes)}: unpublish it first."
            )
        await self.restore(volume_id)

    def is_in_line(self, volume_id: str, targets: Sequence[Target]) -> bool:
        """Whether `targets`, as tgtd showed them, follow the grants and the size of the volume."""
        grants = self._grants.of(volume_id)
        device = self._devices.active(volume_id) if grants else None
        return is_in_line(targets, volume_id, grants, device)

    async def restore(self, volume_id: str) -> None:
        """Make tgtd's state follow the grants of one volume, and its size: to be called when it has
        grown. The nodes notice nothing but a pause."""
        grants = self._grants.of(volume_id)
        if grants:
            device = await self._devices.of(volume_id)
            await self._exports.ensure(volume_id, grants, device)
        else:
            await self._exports.remove(volume_id)

    def _newest_key(self) -> str:
        if not self._keys:
            raise Unavailable(
                "There is no CHAP key on the storage host: put one into the directory given by "
                "--chap-keys."
            )
        return list(self._keys)[-1]


def _check_same(volume_id: str, grant: Grant, *, read_only: bool, shared: bool) -> None:
    if (grant.read_only, grant.shared) != (read_only, shared):
        raise AlreadyExists(
            f"Volume {volume_id} is published to node {grant.node_id} already, "
            f"{_way(read_only=grant.read_only, shared=grant.shared)}, not "
            f"{_way(read_only=read_only, shared=shared)}: unpublish it there first."
        )


def _check_shared(volume_id: str, other: Grant, *, read_only: bool, shared: bool) -> None:
    if not (shared and other.shared and other.read_only == read_only):
        raise FailedPrecondition(
            f"Volume {volume_id} is published to node {other.node_id}, "
            f"{_way(read_only=other.read_only, shared=other.shared)}, and cannot be published "
            f"{_way(read_only=read_only, shared=shared)} to another: unpublish it there first."
        )


def _way(*, read_only: bool, shared: bool) -> str:
    nodes = "several nodes" if shared else "one node"
    return f"{'read-only' if read_only else 'writable'} for {nodes}"
