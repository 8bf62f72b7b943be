"""The two ways of KubeVirt to hot-plug: an edit of the VirtualMachine, or a subresource of it.

Which one it takes is a matter of its version and feature gates, and with the wrong one nothing is
plugged in before the machine's next start.
"""

import json
from collections.abc import Iterable
from enum import Enum

from csi_lvm_iscsi.operator.hotplug.machines import VirtualMachine
from csi_lvm_iscsi.operator.hotplug.objects import KubeVirt, VolumeHotplug
from csi_lvm_iscsi.storage_client.api_server import Object

IMPERATIVE_GATE = "HotplugVolumes"
DECLARATIVE_GATE = "DeclarativeHotplugVolumes"
# pkg/virt-config/featuregate/active.go: alpha since 1.6.0, beta, and so on by default, since 1.9.0.
_DECLARATIVE_SINCE = (1, 6)
_DECLARATIVE_BY_DEFAULT_SINCE = (1, 9)
_DEVICES = "/spec/template/spec/domain/devices/disks"
_VOLUMES = "/spec/template/spec/volumes"
_SUBRESOURCES = "/apis/subresources.kubevirt.io/v1"


class Way(Enum):
    """How this KubeVirt is asked."""

    DECLARATIVE = "declarative"
    IMPERATIVE = "imperative"


def way_of(kubevirt: KubeVirt) -> Way | None:
    """How it is asked; None where it hot-plugs no volumes at all.

    The older gate wins where both are set (pkg/virt-controller/watch/vm/vm.go:
    handleDeclarativeVolumeHotplug); a gate that is set wins over one that is disabled
    (featuregate/feature-gates.go: IsEnabled).
    """
    if IMPERATIVE_GATE in kubevirt.gates:
        return Way.IMPERATIVE
    version = kubevirt.version or (0, 0)
    if DECLARATIVE_GATE in kubevirt.gates:
        return Way.DECLARATIVE if version >= _DECLARATIVE_SINCE else None
    if version >= _DECLARATIVE_BY_DEFAULT_SINCE and DECLARATIVE_GATE not in kubevirt.disabled_gates:
        return Way.DECLARATIVE
    return None


def enabling(kubevirt: KubeVirt) -> str:
    """The command that lets this KubeVirt hot-plug."""
    is_new = (kubevirt.version or (0, 0)) >= _DECLARATIVE_SINCE
    gate = DECLARATIVE_GATE if is_new else IMPERATIVE_GATE
    # A merge patch replaces the whole list.
    developer = {"featureGates": [*kubevirt.gates, gate]}
    patch = json.dumps({"spec": {"configuration": {"developerConfiguration": developer}}})
    return (
        f"kubectl -n {kubevirt.namespace} patch kubevirt {kubevirt.name} --type merge -p '{patch}'"
    )


def disk_of(hotplug: VolumeHotplug, name: str, serial: str) -> Object:
    """The disk that shows the volume in the guest."""
    device: Object = {"bus": hotplug.bus}
    if hotplug.read_only:
        device["readonly"] = True
    return {"name": name, "disk": device, "serial": serial}


def _source_of(hotplug: VolumeHotplug) -> Object:
    return {"persistentVolumeClaim": {"claimName": hotplug.claim, "hotpluggable": True}}


def adding(hotplug: VolumeHotplug, machine: VirtualMachine, name: str, serial: str) -> list[Object]:
    """The JSON patch of the VirtualMachine that adds the volume: to this version of it only."""
    disk = disk_of(hotplug, name, serial)
    volume = {"name": name, **_source_of(hotplug)}
    return [
        _test_version(machine),
        _append(_DEVICES, disk, exists=machine.disks is not None),
        _append(_VOLUMES, volume, exists=machine.has_volumes),
    ]


def removing(machine: VirtualMachine, name: str) -> list[Object]:
    """The JSON patch that takes the volume of this name out, and nothing else."""
    disks = _at(_DEVICES, machine.disks or (), name)
    volumes = _at(_VOLUMES, (each.name for each in machine.volumes), name)
    return [_test_version(machine), *disks, *volumes]


def _test_version(machine: VirtualMachine) -> Object:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": machine.version}


def _append(path: str, value: Object, *, exists: bool) -> Object:
    if exists:
        return {"op": "add", "path": f"{path}/-", "value": value}
    return {"op": "add", "path": path, "value": [value]}


def _at(path: str, names: Iterable[str], name: str) -> list[Object]:
    return [
        {"op": "remove", "path": f"{path}/{index}"}
        for index, each in enumerate(names)
        if each == name
    ]


def subresource(hotplug: VolumeHotplug, verb: str, *, of_instance: bool = False) -> str:
    """The path of `addvolume` or `removevolume` of the machine, or of its instance."""
    plural = "virtualmachineinstances" if of_instance else "virtualmachines"
    return f"{_SUBRESOURCES}/namespaces/{hotplug.namespace}/{plural}/{hotplug.machine}/{verb}"


def adding_options(hotplug: VolumeHotplug, name: str, serial: str) -> Object:
    """The body of `addvolume`."""
    return {
        "name": name,
        "disk": disk_of(hotplug, name, serial),
        "volumeSource": _source_of(hotplug),
    }
