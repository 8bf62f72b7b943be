"""Which storage hosts and nodes belong to the cluster, alive or not, whoever says so."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import FailedPrecondition, NotFound, Unavailable
from csi_lvm_iscsi.storage_client.host import StorageHost


class Membership(ABC):
    """The storage hosts and nodes. Belonging is not being alive: a host stays, though it is down,
    so that its volumes still lead to it."""

    @property
    @abstractmethod
    def known(self) -> Sequence[StorageHost]:
        """All storage hosts, the retired ones too; none before they were read."""

    @property
    @abstractmethod
    def has_zones(self) -> bool:
        """Whether the storage hosts are in zones."""

    @abstractmethod
    def check_ready(self) -> None:
        """Raise Unavailable while it is not known which storage hosts there are."""

    @abstractmethod
    async def check_node(self, node_id: str) -> None:
        """Raise NotFound unless there is such a node, Unavailable where that cannot be told."""

    @abstractmethod
    async def follow(self) -> None:
        """Keep up with changes, for ever."""

    @property
    def hosts(self) -> list[StorageHost]:
        """The storage hosts that are not retired. Raises Unavailable where that is not known."""
        self.check_ready()
        return [host for host in self.known if not host.entry.retired]

    def owner(self, volume_id: str) -> StorageHost | None:
        """The host whose volume group the id names; None where there is none, or it is retired: a
        volume there was given up. Raises Unavailable where that is not known."""
        self.check_ready()
        if not names.is_volume_id(volume_id):
            return None
        owners = [host for host in self.hosts if host.owns(volume_id)]
        if len(owners) > 1:
            # While disks move between hosts, both have the group.
            claimed = " and ".join(host.entry.name for host in owners)
            raise Unavailable(
                f"The volume group of {volume_id} belongs to {claimed}: call again when one of "
                "them has given it up, and see condition VolumeGroupConflict of the StorageNodes."
            )
        return owners[0] if owners else None

    def owner_or_refuse(self, stored_id: str) -> StorageHost:
        """The host whose volume group the id names. Raises NotFound where there is none,
        FailedPrecondition where it is retired, Unavailable where that is not known."""
        host = self.owner(stored_id)
        if host is not None:
            return host
        kind = "snapshot" if names.is_snapshot_id(stored_id) else "volume"
        for given_up in self.known:
            if given_up.owns(stored_id):
                raise FailedPrecondition(
                    f"The {kind} {stored_id} was given up with storage host "
                    f"{given_up.entry.name}, which is retired: delete it, and restore its data "
                    "from a backup."
                )
        raise NotFound(f"There is no {kind} {stored_id}: no storage host has its volume group.")
