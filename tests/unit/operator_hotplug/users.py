"""What users do to the cluster in memory, and KubeVirt says of itself."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.operator.hotplug import objects
from csi_lvm_iscsi.storage_client.api_server import ApiError
from tests.unit.operator_hotplug.kubevirt import (
    GROUP,
    NODE,
    OTHER_NODE,
    KubeVirt,
    apply_request,
    claim_of,
    hotpluggable,
    kubevirt_object,
    machine_object,
)
from tests.unit.operator_hotplug.memory_api import MemoryApi

Object = dict[str, Any]
NAMESPACE = "default"
HOTPLUGS = f"/apis/{objects.API_VERSION}/namespaces/{NAMESPACE}/{objects.PLURAL}"
CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
VOLUMES = "/api/v1/persistentvolumes"
NODES = "/api/v1/nodes"
EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
RESTORED = "restored-"
PARTS = ("virt-api", "virt-controller", "virt-handler")
_PODS = (
    *((part, part, NODE) for part in PARTS),
    ("virt-handler-2", "virt-handler", OTHER_NODE),
)
PODS_OF_KUBEVIRT = "/api/v1/namespaces/kubevirt/pods"


class Users:
    """Those who use the cluster."""

    now: dt.datetime
    api: MemoryApi
    virt: KubeVirt

    async def kubevirt(self, *gates: str, version: str = "v1.6.0") -> None:
        """A KubeVirt, and nodes for its machines."""
        for node in (NODE, OTHER_NODE):
            await self.api.create(NODES, {"metadata": {"name": node}})
        path = f"{GROUP}/namespaces/kubevirt/kubevirts"
        await self.api.create(path, kubevirt_object(*gates, version=version))
        for name, part, node in _PODS:
            metadata = {"name": name, "labels": {"kubevirt.io": part}}
            made = {"metadata": metadata, "spec": {"nodeName": node}}
            await self.api.create(PODS_OF_KUBEVIRT, made)
        await self.set_available(available=True)

    async def set_available(self, *, available: bool, down: Iterable[str] | None = None) -> None:
        """KubeVirt says of itself whether it is available. The pods of these parts are not ready:
        where it is not and none are named, all."""
        if down is None:
            down = () if available else PARTS
        now = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {
            "type": "Available",
            "status": str(available),
            "message": "All components are ready." if available else "virt-controller is down",
            "lastTransitionTime": now,
        }
        path = f"{GROUP}/namespaces/kubevirt/kubevirts/kubevirt/status"
        await self.api.merge(path, {"status": {"conditions": [condition]}})
        for name, part, _ in _PODS:
            ready = {"type": "Ready", "status": str(part not in down), "lastTransitionTime": now}
            path = f"{PODS_OF_KUBEVIRT}/{name}/status"
            await self.api.merge(path, {"status": {"conditions": [ready]}})

    async def claim(self, name: str, *modes: str, phase: str = "Bound") -> None:
        volume = f"pv-{name}"
        spec = {"volumeName": volume, "accessModes": list(modes or ("ReadWriteOnce",))}
        made = {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}
        await self.api.create(CLAIMS, made)
        await self._make_volume(name)

    async def _make_volume(self, claim: str) -> None:
        csi = {"csi": {"volumeHandle": f"0123abcd-{claim}"}}
        with contextlib.suppress(ApiError):  # it is there: a volume outlives its claim
            await self.api.create(VOLUMES, {"metadata": {"name": f"pv-{claim}"}, "spec": csi})

    async def storage_class(
        self, *, driver: str = names.DRIVER, mode: str = "WaitForFirstConsumer", **more: object
    ) -> None:
        made = {"metadata": {"name": "zonal"}, "provisioner": driver, "volumeBindingMode": mode}
        await self.api.create(CLASSES, made | more)

    async def unused_claim(self, name: str, mode: str = "ReadWriteOnce") -> None:
        """A claim of that class that nobody has used yet."""
        spec = {"storageClassName": "zonal", "accessModes": [mode]}
        made = {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Pending"}}
        await self.api.create(CLAIMS, made)

    async def provision(self) -> None:
        """What the provisioner does with the claims that it was told the nodes of."""
        for claim in (await self.api.get(CLAIMS))["items"]:
            annotations, name = claim["metadata"].get("annotations", {}), claim["metadata"]["name"]
            if objects.SELECTED_NODE not in annotations or "volumeName" in claim["spec"]:
                continue
            await self._make_volume(name)
            await self.api.merge(f"{CLAIMS}/{name}", {"spec": {"volumeName": f"pv-{name}"}})
            await self.api.merge(f"{CLAIMS}/{name}/status", {"status": {"phase": "Bound"}})

    async def machine(self, name: str, *, runs: bool = True) -> None:
        await self.api.create(
            f"{GROUP}/namespaces/{NAMESPACE}/virtualmachines", machine_object(name, runs=runs)
        )

    async def hotplug(self, name: str, claim: str, machine: str, **spec: Any) -> None:  # noqa: ANN401
        made = {"claimName": claim, "virtualMachineName": machine, **spec}
        # kopf's part: it holds the object from the first.
        metadata = {"name": name, "finalizers": [objects.FINALIZER]}
        await self.api.create(HOTPLUGS, {"metadata": metadata, "spec": made})

    async def edit(self, machine: str, verb: str, name: str, claim: str, serial: str) -> None:
        """As somebody who edits the machine by hand."""
        found = copy.deepcopy(self._machine(machine))
        disk = {"disk": {"bus": "scsi"}, **({"serial": serial} if serial else {})}
        source = {"persistentVolumeClaim": {"claimName": claim, "hotpluggable": True}}
        options = {"name": name, "disk": disk, "volumeSource": source}
        request = {f"{verb}VolumeOptions": options if verb == "add" else {"name": name}}
        apply_request(found["spec"]["template"]["spec"], request)
        await self.api.replace(self.virt.path("virtualmachines", machine), found)

    async def restore(self, machine: str, claim: str) -> None:
        """As a VirtualMachineRestore, which takes machines that are stopped: the volume is of a
        restored claim, and all else of it stays."""
        if await self.virt.find("virtualmachineinstances", machine):
            raise ApiError(HTTPStatus.CONFLICT, "it is not stopped")
        found = copy.deepcopy(self._machine(machine))
        for each in found["spec"]["template"]["spec"]["volumes"]:
            if claim_of(each) == claim and each["name"] == claim:
                each["persistentVolumeClaim"]["claimName"] = f"{RESTORED}{claim}"
        await self.api.replace(self.virt.path("virtualmachines", machine), found)

    async def request(self, machine: str, name: str, claim: str, serial: str) -> None:
        """As `virtctl addvolume`."""
        source = {"persistentVolumeClaim": {"claimName": claim, "hotpluggable": True}}
        disk = {"disk": {"bus": "scsi"}, "serial": serial}
        found = self._machine(machine)
        body = {"name": name, "disk": disk, "volumeSource": source}
        self._put(found, {**found, "status": self.virt.request(found, "addvolume", body)})

    async def give_instance(self, machine: str, name: str, claim: str) -> None:
        """As `virtctl addvolume` without --persist: the instance has it, the machine does not."""
        path = self.virt.path("virtualmachineinstances", machine)
        instance = await self.api.get(path)
        source = {"persistentVolumeClaim": {"claimName": claim, "hotpluggable": True}}
        options = {"name": name, "disk": {"disk": {"bus": "scsi"}}, "volumeSource": source}
        volumes = instance["spec"]["volumes"]
        if any(each["name"] == name or claim_of(each) == claim for each in volumes):
            raise ApiError(HTTPStatus.CONFLICT, "because it already exists")
        apply_request(instance["spec"], {"addVolumeOptions": options})
        await self.api.replace(path, instance)

    async def take_from_instance(self, machine: str, name: str) -> None:
        """As `virtctl removevolume` without --persist."""
        path = self.virt.path("virtualmachineinstances", machine)
        instance = await self.api.get(path)
        apply_request(instance["spec"], {"removeVolumeOptions": {"name": name}})
        await self.api.replace(path, instance)

    def _put(self, old: Object, made: Object) -> None:
        plural = f"{old['kind'].lower()}s"
        key = (GROUP, NAMESPACE, plural, old["metadata"]["name"])
        self.api._put(key, copy.deepcopy(made))

    def _machine(self, name: str) -> Object:
        key = (GROUP, NAMESPACE, "virtualmachines", name)
        if key not in self.api.objects:
            raise ApiError(HTTPStatus.NOT_FOUND, "no such machine")
        return self.api.objects[key]


def attachment(volume: str, node: str = NODE, **status: Any) -> Object:  # noqa: ANN401
    spec = {"nodeName": node, "source": {"persistentVolumeName": volume}}
    return {"metadata": {"name": f"csi-{volume}-{node}"}, "spec": spec, "status": status}


def serials(spec: Object) -> dict[str, str]:
    disks = spec["domain"]["devices"]["disks"]
    return {each["name"]: each.get("serial", "") for each in disks}


def entries_of(spec: Object) -> list[tuple[str, str]]:
    numbers = serials(spec)
    return [
        (each["persistentVolumeClaim"]["claimName"], numbers[each["name"]])
        for each in spec["volumes"]
        if hotpluggable(each)
    ]
