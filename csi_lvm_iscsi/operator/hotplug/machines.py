"""What is read of KubeVirt's VirtualMachines and VirtualMachineInstances."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from csi_lvm_iscsi.operator.hotplug.objects import Told, time_of
from csi_lvm_iscsi.storage_client.api_server import Object
from csi_lvm_iscsi.storage_client.watching import key_of

MACHINES = "/apis/kubevirt.io/v1/virtualmachines"
INSTANCES = "/apis/kubevirt.io/v1/virtualmachineinstances"
KUBEVIRTS = "/apis/kubevirt.io/v1/kubevirts"
_STOPPED = frozenset({"Succeeded", "Failed"})
_QUANTITY = re.compile(r"(\d+)([KMGT]i?|k)?")
_FACTORS = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of a machine, with the disk that shows it."""

    name: str
    claim: str
    """Its PersistentVolumeClaim; a DataVolume's has its name. Empty where it is none of these."""

    is_hotpluggable: bool
    serial: str
    bus: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request of KubeVirt's subresources that virt-controller has not yet worked on
    (`status.volumeRequests`)."""

    name: str
    """Of the volume."""

    volume: Volume | None
    """That it adds; None where it takes one out."""

    @property
    def adds(self) -> bool:
        """Whether it adds one."""
        return self.volume is not None

    @property
    def claim(self) -> str:
        """Of the volume to add; else empty."""
        return self.volume.claim if self.volume else ""

    @property
    def serial(self) -> str:
        """Of the volume to add; else empty."""
        return self.volume.serial if self.volume else ""


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A VirtualMachine."""

    key: str
    version: str
    """The resourceVersion."""

    deleted: bool
    """Whether it is being deleted."""

    migrates_volumes: bool
    """`updateVolumesStrategy: Migration`, under which KubeVirt does not hot-plug what is edited
    (pkg/storage/hotplug/hotplug.go)."""

    disables_hotplug: bool
    """`disableHotplug`, with which KubeVirt gives it neither a SCSI controller nor the directory
    for what is hot-plugged (pkg/virt-controller/services/template.go)."""

    status: str
    """As KubeVirt prints it."""

    volumes: tuple[Volume, ...]
    """In the order of the object."""

    has_volumes: bool
    """Whether there is a list of volumes at all."""

    disks: tuple[str, ...] | None
    """The names of the disks, in the order of the object; None where there is no list."""

    requests: tuple[Request, ...]
    troubles: tuple[Told, ...]

    @classmethod
    def of(cls, found: Object) -> "VirtualMachine":
        """Read an object."""
        metadata, spec, status = found["metadata"], found["spec"], found.get("status", {})
        template = spec["template"].get("spec", {})
        devices = template.get("domain", {}).get("devices", {})
        disks = devices.get("disks")
        return cls(
            key=key_of(found),
            version=metadata["resourceVersion"],
            deleted="deletionTimestamp" in metadata,
            migrates_volumes=spec.get("updateVolumesStrategy") == "Migration",
            disables_hotplug=devices.get("disableHotplug", False),
            status=status.get("printableStatus", ""),
            volumes=_volumes(template),
            has_volumes=template.get("volumes") is not None,
            disks=None if disks is None else tuple(each["name"] for each in disks),
            requests=tuple(_request(each) for each in status.get("volumeRequests") or ()),
            troubles=_troubles("VirtualMachine", status, _TROUBLES_OF_MACHINES),
        )

    @property
    def to_add(self) -> tuple[Volume, ...]:
        """What requests are to add to it."""
        return tuple(each.volume for each in self.requests if each.volume)


@dataclass(frozen=True, slots=True)
class VolumeStatus:
    """What KubeVirt tells of a volume of a running machine."""

    name: str
    claim: str
    phase: str
    """Ready once the guest has it, for what was hot-plugged; else empty."""

    target: str
    """The disk, as KubeVirt names it: sda."""

    is_hotplugged: bool
    attachment_pod: str
    attachment_pod_uid: str
    """Empty while it is not ready."""

    message: str

    @property
    def is_in_guest(self) -> bool:
        """Whether the guest has or holds what was hot-plugged. KubeVirt keeps this phase while it
        does (pkg/virt-controller/watch/vmi/storage.go: phaseForUnpluggedVolume); then it is
        UnMountedFromPod, and Detaching until the attachment pod is gone."""
        return self.phase in ("Ready", "MountedToPod")

    @property
    def is_ready(self) -> bool:
        """Whether the guest has it."""
        return self.phase == "Ready" if self.is_hotplugged else bool(self.target)


@dataclass(frozen=True, slots=True)
class Instance:
    """A VirtualMachineInstance: a machine that runs, or is about to."""

    key: str
    phase: str
    node: str
    memory_bytes: int
    """Of the guest; 0 where it is not told."""

    disables_hotplug: bool
    """As its machine did when it started."""

    volumes: tuple[Volume, ...]
    statuses: tuple[VolumeStatus, ...]
    troubles: tuple[Told, ...]
    not_ready: str
    """Why its guest may be out of reach, though it runs; else empty."""

    @classmethod
    def of(cls, found: Object) -> "Instance":
        """Read an object."""
        spec, status = found["spec"], found.get("status", {})
        domain = spec.get("domain", {})
        memory = domain.get("memory") or {}
        return cls(
            key=key_of(found),
            phase=status.get("phase", ""),
            node=status.get("nodeName", ""),
            memory_bytes=_bytes(str(memory.get("guest", ""))),
            disables_hotplug=domain.get("devices", {}).get("disableHotplug", False),
            volumes=_volumes(spec),
            statuses=tuple(_status(each) for each in status.get("volumeStatus") or ()),
            troubles=_troubles("VirtualMachineInstance", status, _TROUBLES_OF_INSTANCES),
            not_ready=_not_ready(status),
        )

    @property
    def has_ended(self) -> bool:
        """Whether its guest runs no more."""
        return self.phase in _STOPPED


def _volumes(spec: Object) -> tuple[Volume, ...]:
    devices = spec.get("domain", {}).get("devices", {})
    disks = {each["name"]: each for each in devices.get("disks") or ()}
    return tuple(_volume(each, disks.get(each["name"], {})) for each in spec.get("volumes") or ())


def _volume(volume: Object, disk: Object) -> Volume:
    copied = (volume.get("ephemeral") or {}).get("persistentVolumeClaim")
    claim = volume.get("persistentVolumeClaim") or copied or {}
    data_volume = volume.get("dataVolume") or {}
    device = disk.get("disk") or disk.get("lun") or {}
    return Volume(
        name=volume["name"],
        claim=claim.get("claimName", "") or data_volume.get("name", ""),
        is_hotpluggable=bool(claim.get("hotpluggable") or data_volume.get("hotpluggable")),
        serial=disk.get("serial", ""),
        bus=device.get("bus", ""),
    )


def _request(found: Object) -> Request:
    if removal := found.get("removeVolumeOptions"):
        return Request(name=removal["name"], volume=None)
    adding = found["addVolumeOptions"]
    source = adding.get("volumeSource") or {}
    volume = _volume({**source, "name": adding["name"]}, adding.get("disk") or {})
    return Request(name=adding["name"], volume=volume)


def _status(found: Object) -> VolumeStatus:
    hotplug = found.get("hotplugVolume")
    return VolumeStatus(
        name=found["name"],
        claim=(found.get("persistentVolumeClaimInfo") or {}).get("claimName", ""),
        phase=found.get("phase", ""),
        target=found.get("target", ""),
        is_hotplugged=hotplug is not None,
        attachment_pod=(hotplug or {}).get("attachPodName", ""),
        attachment_pod_uid=(hotplug or {}).get("attachPodUID", ""),
        message=found.get("message", ""),
    )


_TROUBLES_OF_MACHINES: Mapping[str, str] = {"Failure": "True"}
_TROUBLES_OF_INSTANCES: Mapping[str, str] = {
    "Paused": "True",
    "Synchronized": "False",
    "PodScheduled": "False",
}
_STARTS = ("GuestNotRunning", "PodNotExists")
"""Why an instance is not ready that starts: this is said of it for a moment yet when it runs."""


def _troubles(kind: str, status: Object, bad: Mapping[str, str]) -> tuple[Told, ...]:
    conditions: Iterable[Object] = status.get("conditions") or ()
    return tuple(
        Told(
            f"{kind} ({each.get('reason') or each['type']})",
            each.get("message") or each["type"],
            time_of(each.get("lastTransitionTime")),
        )
        for each in conditions
        if bad.get(each["type"]) == each["status"]
    )


def _not_ready(status: Object) -> str:
    """KubeVirt copies this condition from the virt-launcher pod (pkg/virt-controller/watch/vmi:
    syncReadyConditionFromPod), where Kubernetes turns it to False without a word of its own when
    the node does not answer (pkg/controller/util/node: MarkPodsNotReady)."""
    conditions: Iterable[Object] = status.get("conditions") or ()
    ready = next((each for each in conditions if each["type"] == "Ready"), {})
    if ready.get("status") != "False" or ready.get("reason") in _STARTS:
        return ""
    return ready.get("message") or "its virt-launcher pod is not"


def _bytes(quantity: str) -> int:
    """The bytes of a quantity, as Kubernetes writes sizes of memory; 0 where it is none."""
    match = _QUANTITY.fullmatch(quantity)
    return int(match[1]) * _FACTORS[match[2] or ""] if match else 0
