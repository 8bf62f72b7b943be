"""StorageNode: a storage host that belongs to the cluster, as the API server has it."""

from collections.abc import Mapping
from dataclasses import dataclass

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.storage_client.api_server import Object
from csi_lvm_iscsi.storage_client.host import HostEntry

API_VERSION = f"{names.DRIVER}/v1alpha1"
KIND = "StorageNode"
PATH = f"/apis/{API_VERSION}/storagenodes"


@dataclass(frozen=True, slots=True)
class StorageNode:
    """A StorageNode. Its name is the Kubernetes node's."""

    name: str
    uid: str
    version: str
    """The resourceVersion: what is written for this one must not undo what came after it."""

    generation: int
    schedulable: bool
    """False: cordoned."""

    retired: bool
    """Given up, and its volumes with it."""

    zone: str
    volume_groups: Mapping[str, str]
    """The names of the volume groups that belong to it, by UUID."""

    status: Object

    @classmethod
    def of(cls, found: Object) -> "StorageNode":
        """Read an object."""
        metadata, spec = found["metadata"], found.get("spec", {})
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            version=metadata["resourceVersion"],
            generation=metadata["generation"],
            schedulable=spec.get("schedulable", True),
            retired=spec.get("retired", False),
            zone=spec.get("zone", ""),
            volume_groups={each["uuid"]: each["name"] for each in spec.get("volumeGroups", ())},
            status=found.get("status", {}),
        )

    def entry(self, address: str, *, zones: bool) -> HostEntry:
        """It as a storage host. `address`: where it is now, or empty."""
        return HostEntry(
            name=self.name,
            address=address,
            volume_group_uuids=tuple(self.volume_groups),
            zone=self.zone if zones else "",
            closed=self._closed(zones=zones),
            retired=self.retired,
        )

    def _closed(self, *, zones: bool) -> str:
        if not self.schedulable:
            return (
                f"{self.name} is cordoned and takes no new volumes: `kubectl patch storagenode "
                f'{self.name} --type merge -p \'{{"spec":{{"schedulable":true}}}}\'` ends that.'
            )
        if zones and not self.zone:
            return (
                f"{self.name} takes no new volumes, as it is in no zone: give its node the label "
                "topology.kubernetes.io/zone."
            )
        return ""
