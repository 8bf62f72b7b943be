"""KubeVirt, simulated in both its ways: what virt-api, virt-controller and virt-handler make of a
machine and its instance, a step at a time, as pkg/virt-api/rest/volumes.go,
pkg/virt-controller/watch/vm/vm.go and pkg/storage/hotplug/hotplug.go do."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from http import HTTPStatus
from typing import Any, Protocol

from csi_lvm_iscsi.storage_client.api_server import ApiError

Object = dict[str, Any]
GROUP = "/apis/kubevirt.io/v1"
PHASES = ("Pending", "Bound", "AttachedToNode", "MountedToPod", "Ready")
# Of what is unplugged, once the guest lets go.
_AFTER = {
    "AttachedToNode": "UnMountedFromPod",
    "MountedToPod": "UnMountedFromPod",
    "Ready": "UnMountedFromPod",
    "UnMountedFromPod": "Detaching",
}
NODE, OTHER_NODE = "node-1", "node-2"
_FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"


class Api(Protocol):
    """What it needs of an API server."""

    async def get(self, path: str, **query: str) -> Object: ...
    async def create(self, path: str, body: Object) -> Object: ...
    async def replace(self, path: str, body: Object) -> Object: ...
    async def delete(self, path: str) -> None: ...


def kubevirt_object(*gates: str, version: str = "v1.6.0") -> Object:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt"},
        "spec": {"configuration": {"developerConfiguration": {"featureGates": list(gates)}}},
        "status": {
            "observedKubeVirtVersion": version,
            "conditions": [{"type": "Available", "status": "True"}],
        },
    }


def machine_object(name: str, *, runs: bool = True) -> Object:
    """A machine with a root disk of the claim `root-NAME`."""
    root = {"name": "root", "persistentVolumeClaim": {"claimName": f"root-{name}"}}
    disk = {"name": "root", "disk": {"bus": "virtio"}}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "finalizers": [_FINALIZER]},
        "spec": {
            "runStrategy": "Always" if runs else "Halted",
            "template": {
                "spec": {"domain": {"devices": {"disks": [disk]}}, "volumes": [root]},
            },
        },
    }


class KubeVirt:
    """The controllers of one namespace."""

    def __init__(self, api: Api, namespace: str, *, is_declarative: bool) -> None:
        self._api = api
        self._namespace = namespace
        self.is_declarative = is_declarative
        self.held: set[str] = set()
        """Names of volumes that guests do not let go of."""

        self.stuck: set[str] = set()
        """Names of volumes whose attachment pods do not end."""

        self._pods: Counter[str] = Counter()
        """How often the attachment pods of a machine were made anew."""

    def path(self, plural: str, name: str = "", part: str = "") -> str:
        words = [GROUP, "namespaces", self._namespace, plural, name, part]
        return "/".join(filter(None, words))

    async def find(self, plural: str, name: str) -> Object | None:
        try:
            return await self._api.get(self.path(plural, name))
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def control(self, name: str) -> None:
        """One look of virt-controller at a machine. What it read may be overtaken: then the next
        look does it."""
        with contextlib.suppress(ApiError):
            await self._control(name)

    async def _control(self, name: str) -> None:
        machine = await self.find("virtualmachines", name)
        instance = await self.find("virtualmachineinstances", name)
        if machine is None:
            return
        if "deletionTimestamp" in machine["metadata"]:
            await self._end(machine, instance)
            return
        runs = machine["spec"]["runStrategy"] == "Always"
        if runs and instance is None:
            await self._start(machine)
        elif not runs and instance is not None:
            await self._api.delete(self.path("virtualmachineinstances", name))
        elif self.is_declarative:
            await self._pass_on(machine, instance)
        await self._work_on_requests(machine, instance)
        state = "Running" if instance else "Starting" if runs else "Stopped"
        await self._tell(machine, printableStatus=state)

    async def _end(self, machine: Object, instance: Object | None) -> None:
        name = machine["metadata"]["name"]
        if instance is not None:
            await self._api.delete(self.path("virtualmachineinstances", name))
            return
        machine["metadata"]["finalizers"] = []
        await self._api.replace(self.path("virtualmachines", name), machine)

    async def _start(self, machine: Object) -> None:
        name, spec = machine["metadata"]["name"], copy.deepcopy(machine["spec"]["template"]["spec"])
        made = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": name},
            "spec": spec,
        }
        await self._api.create(self.path("virtualmachineinstances"), made)

    async def _pass_on(self, machine: Object, instance: Object | None) -> None:
        """pkg/storage/hotplug/hotplug.go: patchHotplugVolumes."""
        if instance is None or instance.get("status", {}).get("phase") != "Running":
            return
        wanted = machine["spec"]["template"]["spec"]
        names = {each["name"] for each in wanted["volumes"]}
        spec = instance["spec"]
        kept = [each for each in spec["volumes"] if not hotpluggable(each) or each["name"] in names]
        present = {each["name"] for each in spec["volumes"]}
        present |= {each["name"] for each in instance["status"].get("volumeStatus", [])}
        kept += [
            each for each in wanted["volumes"] if hotpluggable(each) and each["name"] not in present
        ]
        await self._set(instance, kept, wanted["domain"]["devices"]["disks"])

    async def _set(self, instance: Object, volumes: list[Object], more: list[Object]) -> None:
        devices = instance["spec"]["domain"]["devices"]
        names = {each["name"] for each in volumes}
        disks = {each["name"]: each for each in [*more, *devices["disks"]]}
        made = [disk for name, disk in disks.items() if name in names]
        if instance["spec"]["volumes"] != volumes:
            instance["spec"]["volumes"], devices["disks"] = volumes, made
            path = self.path("virtualmachineinstances", instance["metadata"]["name"])
            await self._api.replace(path, instance)

    async def _work_on_requests(self, machine: Object, instance: Object | None) -> None:
        """handleVolumeRequests: first the instance, then the machine. It is all or nothing."""
        requests = machine.get("status", {}).get("volumeRequests", [])
        template = machine["spec"]["template"]["spec"]
        before = copy.deepcopy(template)
        for request in requests:
            if instance and instance.get("status", {}).get("phase") == "Running":
                spec = copy.deepcopy(instance["spec"])
                if is_refused(spec["volumes"], request):
                    return
                apply_request(spec, request)
                await self._set(instance, spec["volumes"], spec["domain"]["devices"]["disks"])
                instance = await self.find("virtualmachineinstances", instance["metadata"]["name"])
            apply_request(template, request)
        name = machine["metadata"]["name"]
        if template != before:
            written = await self._api.replace(self.path("virtualmachines", name), machine)
            machine["metadata"] = written["metadata"]
        if requests:
            await self._tell(machine, volumeRequests=[])

    async def _tell(self, machine: Object, **status: Any) -> None:  # noqa: ANN401
        old = machine.get("status", {})
        if {**old, **status} != old:
            machine["status"] = {**old, **status}
            path = self.path("virtualmachines", machine["metadata"]["name"], "status")
            written = await self._api.replace(path, machine)
            machine["metadata"] = written["metadata"]

    async def handle(self, name: str) -> None:
        """One look of virt-handler at an instance."""
        instance = await self.find("virtualmachineinstances", name)
        if instance is None:
            return
        status = instance.setdefault("status", {})
        before = copy.deepcopy(status)
        if status.get("phase") != "Running":
            status["phase"] = {"": "Scheduling", "Scheduling": "Running"}[status.get("phase", "")]
            status["nodeName"] = NODE
        else:
            status["volumeStatus"] = self._statuses(instance)
        if status != before:
            path = self.path("virtualmachineinstances", name, "status")
            with contextlib.suppress(ApiError):
                await self._api.replace(path, instance)

    async def move(self, name: str) -> None:
        """A machine moves to the other node as it runs: its volumes stay ready, and get attachment
        pods there."""
        instance = await self.find("virtualmachineinstances", name)
        if instance and instance.get("status", {}).get("phase") == "Running":
            is_here = instance["status"]["nodeName"] == NODE
            instance["status"]["nodeName"] = OTHER_NODE if is_here else NODE
            self.lose_pods(name)
            path = self.path("virtualmachineinstances", name, "status")
            await self._api.replace(path, instance)

    def lose_pods(self, name: str) -> None:
        """The attachment pods of a machine are deleted: KubeVirt makes new ones."""
        self._pods[name] += 1

    def _statuses(self, instance: Object) -> list[Object]:
        volumes = {each["name"]: each for each in instance["spec"]["volumes"]}
        statuses = {each["name"]: each for each in instance["status"].get("volumeStatus", [])}
        for name, volume in volumes.items():
            made = self._pods[instance["metadata"]["name"]]
            statuses[name] = _advanced(statuses.get(name), name, volume, made)
        for name in set(statuses) - set(volumes):
            phase = statuses[name].get("phase")
            if name in self.held and phase in ("MountedToPod", "Ready"):
                continue
            statuses[name]["phase"] = _AFTER.get(phase, "")
            if not statuses[name]["phase"]:
                if name in self.stuck:
                    statuses[name]["phase"] = "Detaching"
                else:
                    del statuses[name]
        return list(statuses.values())

    def request(self, machine: Object, verb: str, body: Object) -> Object:
        """virt-api's `addvolume` and `removevolume` of a machine, where it keeps requests; gives
        the status that it writes. Raises ApiError."""
        volumes = machine["spec"]["template"]["spec"]["volumes"]
        requests = list(machine.get("status", {}).get("volumeRequests", []))
        name = body["name"]
        if verb == "addvolume":
            claim = body["volumeSource"]["persistentVolumeClaim"]["claimName"]
            if any(each["name"] == name or claim_of(each) == claim for each in volumes):
                raise ApiError(HTTPStatus.CONFLICT, "because it already exists")
            if any(name_of(each) == name for each in requests):
                raise ApiError(HTTPStatus.CONFLICT, "a request already exists")
            requests.append({"addVolumeOptions": body})
        else:
            check_removal(volumes, name)
            if any(each.get("removeVolumeOptions", {}).get("name") == name for each in requests):
                raise ApiError(HTTPStatus.CONFLICT, "a remove volume request already exists")
            requests = [each for each in requests if name_of(each) != name]
            requests.append({"removeVolumeOptions": body})
        return {**machine.get("status", {}), "volumeRequests": requests}


def is_refused(volumes: list[Object], request: Object) -> bool:
    """Whether virt-api refuses to pass a request on to the instance, whose volumes these are: one
    has the claim already, by another name (verifyVolumeOption)."""
    options = request.get("addVolumeOptions")
    if options is None or any(each["name"] == options["name"] for each in volumes):
        return False
    return any(claim_of(each) == claim_of(options["volumeSource"]) for each in volumes)


def check_removal(volumes: list[Object], name: str) -> None:
    found = [each for each in volumes if each["name"] == name]
    if not found or not hotpluggable(found[0]):
        raise ApiError(HTTPStatus.CONFLICT, f"Unable to remove volume [{name}]")


def _advanced(old: Object | None, name: str, volume: Object, made: int) -> Object:
    claim = {"claimName": claim_of(volume)}
    if not hotpluggable(volume):
        return {"name": name, "target": "vda", "persistentVolumeClaimInfo": claim}
    phase = old.get("phase") if old else None
    at = PHASES.index(phase) + 1 if phase in PHASES else 0
    phase = PHASES[min(at, len(PHASES) - 1)]
    return {
        "name": name,
        "target": "sda" if phase == "Ready" else "",
        "phase": phase,
        "persistentVolumeClaimInfo": claim,
        "hotplugVolume": {"attachPodName": f"hp-volume-{name}{f'-{made}' if made else ''}"},
    }


def apply_request(spec: Object, request: Object) -> None:
    """pkg/controller: ApplyVolumeRequestOnVMISpec."""
    disks, name = spec["domain"]["devices"]["disks"], name_of(request)
    present = any(each["name"] == name for each in spec["volumes"])
    if options := request.get("addVolumeOptions"):
        if not present:
            spec["volumes"].append({"name": name, **options["volumeSource"]})
            disks.append({**options["disk"], "name": name})
        return
    spec["volumes"][:] = [each for each in spec["volumes"] if each["name"] != name]
    disks[:] = [each for each in disks if each["name"] != name]


def name_of(request: Object) -> str:
    options = request.get("addVolumeOptions") or request["removeVolumeOptions"]
    return str(options["name"])


def claim_of(volume: Object) -> str:
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName", ""))


def hotpluggable(volume: Object) -> bool:
    return bool((volume.get("persistentVolumeClaim") or {}).get("hotpluggable"))
