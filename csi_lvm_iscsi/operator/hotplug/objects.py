"""What is read of VolumeHotplugs, claims, attachments of volumes, and KubeVirt itself."""

import datetime as dt
import re
from dataclasses import dataclass

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.storage_client.api_server import Object
from csi_lvm_iscsi.storage_client.watching import key_of

API_VERSION = f"{names.DRIVER}/v1alpha1"
KIND = "VolumeHotplug"
PLURAL = "volumehotplugs"
PATH = f"/apis/{API_VERSION}/{PLURAL}"
FINALIZER = f"{names.DRIVER}/hotplug"
_NEWEST = (99, 0)
SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""On a claim: the node for which its volume is to be made. The scheduler writes it for a pod
(k8s.io/component-helpers, storage/volume/pv_helpers.go)."""

SERIAL_LENGTH = 20
"""What virtio-blk and KubeVirt have room for."""


@dataclass(frozen=True, slots=True)
class Told:
    """What another part of the cluster gave as a reason."""

    by: str
    """Who, in words."""

    message: str
    at: dt.datetime | None = None
    """When, where that is known."""


@dataclass(frozen=True, slots=True)
class VolumeHotplug:
    """A VolumeHotplug."""

    key: str
    namespace: str
    name: str
    uid: str
    version: str
    """The resourceVersion."""

    generation: int
    created: str
    deleted: bool
    """Whether it is being deleted."""

    deleted_at: dt.datetime | None
    """Since when."""

    is_held: bool
    """Whether our finalizer is on it: before, it may go without our knowing."""

    claim: str
    machine: str
    bus: str
    read_only: bool
    serial_asked: str
    """The serial number that the user wants; empty where that is left to us."""

    force: bool
    status: Object

    @classmethod
    def of(cls, found: Object) -> "VolumeHotplug":
        """Read an object."""
        metadata, spec = found["metadata"], found["spec"]
        return cls(
            key=key_of(found),
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            version=metadata["resourceVersion"],
            generation=metadata["generation"],
            created=metadata["creationTimestamp"],
            deleted="deletionTimestamp" in metadata,
            deleted_at=time_of(metadata.get("deletionTimestamp")),
            is_held=FINALIZER in metadata.get("finalizers", ()),
            claim=spec["claimName"],
            machine=spec["virtualMachineName"],
            bus=spec.get("bus", "scsi"),
            read_only=spec.get("readOnly", False),
            serial_asked=spec.get("serial", ""),
            force=spec.get("force", False),
            status=found.get("status", {}),
        )

    def age(self, *, is_begun: bool) -> tuple[str, bool, str]:
        """What comes first of two is the older one. Of those of the same second it is the one that
        has a disk, whatever their names: only that one knows its disk once the claim is gone.

        `is_begun`: whether it is about to get one.
        """
        return self.created, not (is_begun or "serial" in self.status), self.name

    @property
    def serial_known(self) -> str:
        """The serial number of its disk, once it was settled: it stays, whatever becomes of the
        claim."""
        return self.serial_asked or str(self.status.get("serial", ""))


def serial_of(volume_handle: str) -> str:
    """The serial number of a volume's disk in a guest: as much of the one that a node sees as there
    is room for. For volumes of other drivers, one made in the same way."""
    return names.serial(volume_handle)[:SERIAL_LENGTH]


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim."""

    key: str
    uid: str
    version: str
    phase: str
    volume: str
    """Its PersistentVolume; empty where there is none yet."""

    access_modes: frozenset[str]
    storage_class: str
    selected_node: str
    """Where it waits for its first user: the node that was chosen; empty before."""

    deleted: bool
    """Whether it is being deleted, which waits for its users."""

    @classmethod
    def of(cls, found: Object) -> "Claim":
        """Read an object."""
        spec, status = found.get("spec", {}), found.get("status", {})
        return cls(
            key=key_of(found),
            uid=found["metadata"].get("uid", ""),
            version=found["metadata"].get("resourceVersion", ""),
            phase=status.get("phase", ""),
            volume=spec.get("volumeName", ""),
            access_modes=frozenset(status.get("accessModes") or spec.get("accessModes") or ()),
            storage_class=spec.get("storageClassName") or "",
            selected_node=found["metadata"].get("annotations", {}).get(SELECTED_NODE, ""),
            deleted="deletionTimestamp" in found["metadata"],
        )

    @property
    def is_bound(self) -> bool:
        """Whether there is a volume behind it."""
        return self.phase == "Bound" and bool(self.volume)

    @property
    def is_shared(self) -> bool:
        """Whether a machine that has it can be migrated as it runs: KubeVirt asks for
        ReadWriteMany, also where it is only read (pkg/storage/types/pvc.go: HasSharedAccessMode).
        """
        return "ReadWriteMany" in self.access_modes

    def is_for_many(self, *, read_only: bool) -> bool:
        """Whether several nodes may have it at once."""
        return self.is_shared or (read_only and "ReadOnlyMany" in self.access_modes)


@dataclass(frozen=True, slots=True)
class StorageClass:
    """A StorageClass."""

    key: str
    is_ours: bool
    """Whether this driver makes its volumes."""

    waits_for_user: bool
    """Whether a volume is made when it is known on which node it is used first."""

    is_restricted: bool
    """Whether it names the zones in which that node has to be."""

    @classmethod
    def of(cls, found: Object) -> "StorageClass":
        """Read an object."""
        return cls(
            key=key_of(found),
            is_ours=found.get("provisioner") == names.DRIVER,
            waits_for_user=found.get("volumeBindingMode") == "WaitForFirstConsumer",
            is_restricted=bool(found.get("allowedTopologies")),
        )


@dataclass(frozen=True, slots=True)
class VolumeAttachment:
    """A VolumeAttachment: that a node has, or is to have, a volume."""

    volume: str
    """Its PersistentVolume."""

    node: str
    errors: tuple[Told, ...]
    """Why it could not be attached or detached the last time."""

    @classmethod
    def of(cls, found: Object) -> "VolumeAttachment":
        """Read an object."""
        spec, status = found["spec"], found.get("status", {})
        errors = [
            Told(by, each.get("message", ""), time_of(each.get("time")))
            for field, by in (("attachError", "attach"), ("detachError", "detach"))
            if (each := status.get(field))
        ]
        volume = spec.get("source", {}).get("persistentVolumeName", "")
        return cls(volume, spec["nodeName"], tuple(errors))


@dataclass(frozen=True, slots=True)
class KubeVirt:
    """The KubeVirt object: which version is installed, and how."""

    namespace: str
    name: str
    version: tuple[int, int] | None
    """Major and minor; None before its first deployment."""

    gates: tuple[str, ...]
    disabled_gates: tuple[str, ...]
    unavailable: str
    """Why it is not available; empty while it is. It says so of itself also while any node is
    without virt-handler, and while anything cannot be deployed anew
    (pkg/virt-operator/util/client.go: UpdateConditionsFailedError)."""

    unavailable_since: dt.datetime | None
    """Since when, and for the same reason."""

    @classmethod
    def of(cls, found: Object) -> "KubeVirt":
        """Read an object."""
        metadata, status = found["metadata"], found.get("status", {})
        configuration = found.get("spec", {}).get("configuration") or {}
        conditions: list[Object] = status.get("conditions") or []
        available = next((each for each in conditions if each["type"] == "Available"), {})
        developer = configuration.get("developerConfiguration") or {}
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            version=_version(status.get("observedKubeVirtVersion", "")),
            gates=tuple(developer.get("featureGates") or ()),
            disabled_gates=tuple(developer.get("disabledFeatureGates") or ()),
            unavailable=_unavailable(available),
            unavailable_since=time_of(available.get("lastTransitionTime")),
        )


def _version(text: str) -> tuple[int, int] | None:
    """A build that is of no release, as developers make them, is taken for the newest."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else _NEWEST if text else None


def _unavailable(condition: Object) -> str:
    if not condition:
        return "KubeVirt is not deployed yet"
    if condition["status"] == "True":
        return ""
    return condition.get("message") or condition.get("reason") or "KubeVirt is not available"


@dataclass(frozen=True, slots=True)
class Outage:
    """That a part of KubeVirt is down."""

    part: str
    message: str
    since: dt.datetime | None
    """Since when, where that is known."""


def time_of(text: object) -> dt.datetime | None:
    """A time as Kubernetes writes it; None where there is none."""
    return dt.datetime.fromisoformat(text) if isinstance(text, str) and text else None
