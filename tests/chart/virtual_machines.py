"""KubeVirt's part of a cluster that has none: its APIs without schemas, and controllers that are
simulated over the real API server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client, config

from csi_lvm_iscsi.operator.hotplug import machines, objects
from csi_lvm_iscsi.storage_client.api_server import ApiServer, Object
from csi_lvm_iscsi.storage_client.watching import Watched, as_it_is
from tests.chart import cluster
from tests.unit.operator_hotplug.kubevirt import (
    GROUP,
    NODE,
    KubeVirt,
    hotpluggable,
    kubevirt_object,
    machine_object,
)

NAMESPACE = "default"
_PAUSE_SECONDS = 0.1
KUBEVIRTS = f"{GROUP}/namespaces/{NAMESPACE}/kubevirts"
NODES = "/api/v1/nodes"
NODE_PATH = f"{NODES}/{NODE}"
CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
HOTPLUGS = f"/apis/{objects.API_VERSION}/namespaces/{NAMESPACE}/{objects.PLURAL}"
CRDS = [
    {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.lower()}s.kubevirt.io"},
        "spec": {
            "group": "kubevirt.io",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": f"{kind.lower()}s"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": True,
                        }
                    },
                }
            ],
        },
    }
    for kind in ("VirtualMachine", "VirtualMachineInstance", "KubeVirt")
]


class Admin(ApiServer):
    """The API server, as an admin who may delete, too."""

    async def delete(self, path: str) -> None:
        await self._answer("DELETE", path, {})


async def connect(kubeconfig: Path) -> Admin:
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    return Admin(configuration)


class Machines:
    """Virtual machines whose controllers work, and what was seen of them at which time."""

    def __init__(self, api: Admin, names: Sequence[str]) -> None:
        self.api = api
        self.names = names
        self.virt = KubeVirt(api, NAMESPACE, is_declarative=True)
        self.hotplugs = Watched(api, objects.PATH, as_it_is, self._hotplugs_changed)
        self.machines = Watched(api, machines.MACHINES, as_it_is, self._machines_changed)
        self.instances = Watched(api, machines.INSTANCES, as_it_is, self._instances_changed)
        self.added: Counter[tuple[str, str]] = Counter()
        """How often a claim came into a machine."""

        self.patched_at: dict[str, float] = {}
        """When a claim was first seen in a machine."""

        self.ready_at: dict[str, float] = {}
        """When KubeVirt's Ready was first seen of a claim."""

        self.attached_at: dict[str, float] = {}
        """When Attached was first seen of a VolumeHotplug, by its claim."""

        self._before: dict[str, set[str]] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        work: list[asyncio.Task[None]] = [
            asyncio.create_task(each.follow())
            for each in (self.hotplugs, self.machines, self.instances)
        ]
        work += [asyncio.create_task(self._work_on(name)) for name in self.names]
        try:
            yield
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)

    async def make(self) -> None:
        for name in self.names:
            made = machine_object(name)
            del made["metadata"]["finalizers"]
            await self.api.create(self.virt.path("virtualmachines"), made)

    async def _work_on(self, name: str) -> None:
        while True:
            await self.virt.control(name)
            await self.virt.handle(name)
            await asyncio.sleep(_PAUSE_SECONDS)

    def entries(self, name: str) -> list[str]:
        """The claims that are hot-plugged into a machine."""
        found = self.machines.objects.get(f"{NAMESPACE}/{name}")
        return _entries(found) if found else []

    def status(self, hotplug: str) -> Object:
        found = self.hotplugs.objects.get(f"{NAMESPACE}/{hotplug}", {})
        status: Object = found.get("status", {})
        return status

    def reason(self, hotplug: str) -> str:
        return str(self._attached(hotplug).get("reason", ""))

    def message(self, hotplug: str) -> str:
        return str(self._attached(hotplug).get("message", ""))

    def _attached(self, hotplug: str) -> Object:
        found = self.status(hotplug).get("conditions", ())
        return next((each for each in found if each["type"] == "Attached"), {})

    def _machines_changed(self, _: Sequence[Object]) -> None:
        for name in self.names:
            now = set(self.entries(name))
            assert len(now) == len(self.entries(name)), f"{name} has a claim twice"
            for claim in now - self._before.get(name, set()):
                self.added[name, claim] += 1
                self.patched_at.setdefault(claim, time.monotonic())
            self._before[name] = now

    def _instances_changed(self, changed: Sequence[Object]) -> None:
        for instance in changed:
            for each in instance.get("status", {}).get("volumeStatus", ()):
                if each.get("phase") == "Ready":
                    claim = each["persistentVolumeClaimInfo"]["claimName"]
                    self.ready_at.setdefault(claim, time.monotonic())

    def _hotplugs_changed(self, changed: Sequence[Object]) -> None:
        for each in changed:
            if each.get("status", {}).get("phase") == "Attached":
                self.attached_at.setdefault(each["spec"]["claimName"], time.monotonic())


@contextlib.asynccontextmanager
async def kubevirt_in(installed: cluster.Cluster, admin: Admin) -> AsyncIterator[None]:
    crds = yaml.safe_dump_all(CRDS)
    installed.kubectl("apply", "--filename=-", stdin=crds)
    installed.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    made = kubevirt_object("DeclarativeHotplugVolumes")
    written = await admin.create(KUBEVIRTS, made)
    await admin.replace(f"{KUBEVIRTS}/kubevirt/status", {**written, "status": made["status"]})
    yield
    installed.kubectl("delete", "--filename=-", stdin=crds)


@contextlib.asynccontextmanager
async def scene(admin: Admin, names: tuple[str, ...]) -> AsyncIterator[Machines]:
    await admin.create(NODES, {"metadata": {"name": NODE}})
    try:
        machines = Machines(admin, names)
        await machines.make()
        async with machines.running():
            await until(lambda: len(machines.instances.objects) == len(names))
            yield machines
    finally:
        await admin.delete(NODE_PATH)


def _entries(machine: Object) -> list[str]:
    volumes = machine["spec"]["template"]["spec"]["volumes"]
    return [each["persistentVolumeClaim"]["claimName"] for each in volumes if hotpluggable(each)]


async def make_claim(api: Admin, name: str) -> None:
    """A claim that is bound to a volume of the driver."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    csi = {"driver": "csi-lvm-iscsi.github.io", "volumeHandle": f"0123abcd-{name}"}
    volume = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": csi}
    metadata = {"name": f"pv-{name}"}
    await api.create("/api/v1/persistentvolumes", {"metadata": metadata, "spec": volume})
    made = {"metadata": {"name": name}, "spec": {**spec, "volumeName": f"pv-{name}"}}
    claim = await api.create(CLAIMS, made)
    await api.replace(f"{CLAIMS}/{name}/status", {**claim, "status": {"phase": "Bound"}})


async def make_unused_claim(api: Admin, name: str, storage_class: str, **metadata: Any) -> None:  # noqa: ANN401
    """A claim without a volume, of a class."""
    spec = {
        "storageClassName": storage_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    await api.create(CLAIMS, {"metadata": {"name": name, **metadata}, "spec": spec})


async def make_hotplug(api: Admin, claim: str, machine: str) -> float:
    """A VolumeHotplug of the claim's name; the time when it was there."""
    made = {
        "apiVersion": objects.API_VERSION,
        "kind": objects.KIND,
        "metadata": {"name": claim},
        "spec": {"claimName": claim, "virtualMachineName": machine},
    }
    await api.create(HOTPLUGS, made)
    return time.monotonic()


async def until(holds: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something that the watches tell holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is told by several watches
            await asyncio.sleep(0.02)
